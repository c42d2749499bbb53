"""Overlays of benchmarks are data: a title, data sets by split that ask as in testing, and metrics."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from lisa_mm.datasets.base import SegDatasetOptions
from lisa_mm.registry import DATASETS

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'benchmarks'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))


def test_these_are_there():
    assert {'muse', 'gcg', 'jsonl'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_each_split_is_a_data_set_of_testing(name):
    content = Config.fromfile(FOLDER / f'{name}.py').to_dict()
    assert list(content) == ['benchmark']
    benchmark: dict[str, Any] = content['benchmark']
    assert set(benchmark) == {'title', 'splits', 'metrics'}
    assert all(set(metric) >= {'type'} for metric in benchmark['metrics'])
    for split in benchmark['splits'].values():
        assert split['test_mode'] is True
        arguments = {key: value for key, value in split.items() if key != 'type'}
        reader: Any = DATASETS.get(split['type'])
        assert set(arguments) <= {*inspect.signature(reader).parameters, *SegDatasetOptions.__annotations__}
        assert reader.argument_faults(arguments) == []
