"""The data sets of a config, by split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config.compile import DATALOADERS, compile_config, datasets_in
from ..config.load import load_config
from ..errors import ConfigError


def dataset_configs(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """(split, config) of every data set of a config; members of a mixture are listed separately, without pipelines.

    Args:
        config: A source config: nothing is derived, so neither weights nor tokenizers are needed.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for split, entry, _ in datasets_with_pipelines(config):
        if (split, entry) not in found:
            found.append((split, entry))
    return found


def datasets_with_pipelines(config: Config) -> list[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """(split, config without pipeline, pipeline) of every data set of a config; members of a mixture have the mixture's pipeline.

    Args:
        config: A source or compiled config.
    """
    found: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = []
    for loader in DATALOADERS:
        split = loader.removesuffix('_dataloader')
        dataset = (config.get(loader) or {}).get('dataset')
        if not dataset:
            continue
        whole = dataset.to_dict()
        for entry, path in datasets_in(whole, split):
            if entry.get('datasets'):
                continue
            plain = without_pipeline(entry)
            if config.get('data_root'):
                plain.setdefault('data_root', config.data_root)
            role = 'val' if '.exclude_val' in path else split
            item = role, plain, entry.get('pipeline') or whole.get('pipeline') or []
            if item not in found:
                found.append(item)
    return found


def compiled_dataset(path: str | Path, options: list[str], split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data set's config with its pipeline, and the tokenizer's arguments.

    Raises:
        ConfigError: if the config has no such split.
    """
    compiled = compile_config(load_config(path, options=options))
    loader = compiled.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'{path} has no {split}_dataloader.')
    dataset = loader.dataset.to_dict()
    pipelines = [entry['pipeline'] for entry, _ in datasets_in(dataset, split) if entry.get('pipeline')]
    encoders = [t for pipeline in pipelines for t in pipeline if t['type'] == 'EncodeConversations']
    if not encoders:
        raise ConfigError(f'{path}: the pipeline of {split}_dataloader has no EncodeConversations.')
    return dataset, encoders[0]


def without_pipeline(dataset: dict[str, Any]) -> dict[str, Any]:
    """A data set's config whose items come straight from the reader: masks encoded, nothing loaded."""
    return {key: value for key, value in dataset.items() if key != 'pipeline'}
