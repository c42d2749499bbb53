"""Try data sets and transforms in the training of a tiny model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config

from ..apis.training import build_runner
from ..config.compile import compile_config
from ..datasets.base import BaseSegDataset
from ..doctor.check import check
from ..registry import DATASETS, TRANSFORMS
from .steps import run_steps
from .tiny import MODEL, PIPELINE, registered, registered_name, training, write_pictures

VISITED = 8  # number of items


def is_data(part: dict[str, Any] | type) -> bool:
    """Whether a part is a data set or a transform."""
    return issubclass(_class_of(part), (BaseSegDataset, BaseTransform))


def _class_of(part: dict[str, Any] | type) -> type:
    kind = part.get('type') if isinstance(part, dict) else part
    if inspect.isclass(kind):
        return kind
    return registered(DATASETS, kind) or registered(TRANSFORMS, kind) or object


def run_data_steps(part: dict[str, Any] | type, folder: Path) -> list[str]:
    """Run the steps of :func:`.check_part.check_part` for a data set or a transform.

    Args:
        part: A registered part; a data set includes its ``data_root``, if it has one.
        folder: Folder for the check's files.
    """
    return _DataTrial(part, folder).run()


class _DataTrial:
    def __init__(self, part: dict[str, Any] | type, folder: Path):
        self.cls, self.folder = _class_of(part), folder
        self.is_transform = issubclass(self.cls, BaseTransform)
        registry = TRANSFORMS if self.is_transform else DATASETS
        given = dict(part) if isinstance(part, dict) else {}
        self.written = {**given, 'type': registered_name(registry, self.cls)}
        write_pictures(folder)
        self.source = training(copy.deepcopy(MODEL), folder, self.cls)
        loader = self.source.train_dataloader
        if self.is_transform:
            loader.dataset.pipeline.insert(1, self.written)  # after LoadImage
        else:
            loader.dataset = {**self.written, 'pipeline': copy.deepcopy(PIPELINE)}
        self.compiled = Config()

    def run(self) -> list[str]:
        steps = {'config': self.config, 'items': self.items, 'testing': self.testing, 'doctor': self.doctor, 'step': self.step}
        if self.is_transform:
            del steps['testing'], steps['doctor']
        role = 'transform' if self.is_transform else 'data set'
        return run_steps(f'{self.cls.__name__} ({role})', steps)

    def config(self) -> Iterator[str]:
        self.compiled = compile_config(self.source)
        yield from ()

    def items(self) -> Iterator[str]:
        """Item n must be equal at every visit and in every process."""
        first, again = self._build(), self._build()
        for number in range(min(2 * len(first), VISITED)):
            one, other = _tensors(first[number]), _tensors(again[number])
            different = [key for key in one if key not in other or not np.array_equal(one[key], other[key])]
            if different:
                yield (
                    f'item {number} differs between two visits ({different[0]}): all randomness must come from the generator '
                    'that ask() or results["rng"] gives'
                )
                return

    def testing(self) -> Iterator[str]:
        """Testing must ask the same every time, without random choices."""
        dataset = self._build(test_mode=True)
        names = [dataset[number]['data_sample'].sample_id for number in range(min(len(dataset), VISITED))]
        if not names or not all(isinstance(name, str) for name in names):
            yield f'with test_mode=True the ids of samples are {names}: records need a sample_id'

    def doctor(self) -> Iterator[str]:
        yield from (finding.problem for finding in check(self.source) if finding.level == 'error')

    def step(self) -> Iterator[str]:
        build_runner(self.source, self.folder / 'work').train()
        yield from ()

    def _build(self, **arguments: object) -> BaseSegDataset:
        return DATASETS.build({**self.compiled.train_dataloader.dataset.to_dict(), **arguments})


def _tensors(item: dict[str, Any]) -> dict[str, Any]:
    """The parts of an item to compare, by name."""
    inputs = item['inputs']
    found = {key: np.asarray(value) for key, value in inputs.items() if key not in ('rows', 'image_inputs')}
    for row, (ids, labels) in enumerate(inputs['rows']):
        found |= {f'ids of row {row}': np.asarray(ids), f'labels of row {row}': np.asarray(labels)}
    return {**found, 'gt_masks': np.asarray(item['data_sample'].gt_masks)}
