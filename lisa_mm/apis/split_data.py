"""The data of a benchmark's split for a model."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import FUNCTIONS

from ..config.compile import datasets_in
from ..datasets.base import BaseSegDataset
from ..errors import ConfigError
from ..tokens import MASK_TOKENS
from .benchmarks import Split
from .loading import ReadyModel


def own_split(compiled: Config) -> Split:
    """The config's own test data as a split of the benchmark 'test'.

    Raises:
        ConfigError: if it has none.
    """
    loader, metrics = compiled.get('test_dataloader'), compiled.get('test_evaluator') or []
    if not loader:
        raise ConfigError('the config has no test_dataloader. Name a benchmark by --benchmarks, or add one.')
    dataset = {key: value for key, value in loader.to_dict()['dataset'].items() if key != 'pipeline'}
    listed = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return Split('own', 'the config', str(dataset.get('split', 'test')), dataset, [dict(metric) for metric in listed])


def arguments_of(ready: ReadyModel) -> dict[str, Any]:
    """What every data set of a benchmark gets from the config: its root, its pipeline, and the model's mask tokens.

    Raises:
        ConfigError: if the config has no loader whose pipeline could be used.
    """
    loader = evaluation_loader(ready.compiled)
    (dataset, _), *_ = [found for found in datasets_in(loader['dataset'], '') if found[0].get('pipeline')]
    root = ready.compiled.get('data_root') or dataset.get('data_root') or ''
    arguments = {'data_root': root, 'pipeline': dataset['pipeline'], 'test_mode': True}
    tokens = tuple(ready.tokenizer_spec['mask_tokens'])
    return arguments if tokens == MASK_TOKENS else {**arguments, 'mask_tokens': tokens}


def evaluation_loader(compiled: Config) -> dict[str, Any]:
    """The config's loader for testing, or else for validation or training."""
    for name in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        loader = compiled.get(name)
        if loader and any(found[0].get('pipeline') for found in datasets_in(loader['dataset'], '')):
            return loader.to_dict()
    raise ConfigError('no data loader of the config has a pipeline; a benchmark needs one. Add a test_dataloader.')


def loader_arguments(ready: ReadyModel, batch_size: int | None) -> dict[str, Any]:
    """Arguments of torch's ``DataLoader`` for the model."""
    loader = evaluation_loader(ready.compiled)
    collate = dict(loader['collate_fn'])
    function: Any = FUNCTIONS.get(collate.pop('type'))
    return {
        'batch_size': batch_size or loader.get('batch_size') or 1,
        'num_workers': loader.get('num_workers', 0),
        'collate_fn': partial(function, **collate),
    }


def split_hash(dataset: BaseSegDataset, limit: int | None = None) -> str:
    """sha256 of the questions, image names and encoded targets of a split, as they are asked."""
    digest = hashlib.sha256()
    root = str(Path(dataset.data_root)) if dataset.data_root else None
    for number in range(len(dataset) if limit is None else min(limit, len(dataset))):
        record = dataset.get_data_info(number)
        asked = dataset.ask(record, np.random.default_rng(0))
        image = os.path.basename(record['img_path'] or '')
        text = json.dumps([record['sample_id'], image, asked.conversations, asked.facts, asked.masks], sort_keys=True)
        digest.update((text if root is None else text.replace(root, '')).encode())
    return digest.hexdigest()
