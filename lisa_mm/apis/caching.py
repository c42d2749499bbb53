"""Fill a feature cache before training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset

from ..config.feature_cache import HOOK
from ..config.load import load_config
from ..datasets.base import BaseSegDataset
from ..datasets.collate import stack_images
from ..datasets.leaks import image_paths
from ..datasets.transforms import LoadImage
from ..datasets.transforms.cached import RESIZES, CachedImages, caching_steps
from ..datasets.transforms.packing import pack_images
from ..engine.hooks.feature_cache_hook import FeatureCacheHook
from ..errors import ConfigError, UserError
from ..models import LISA
from ..models.base import BaseMaskDecoder, BaseMLLM
from ..models.frozen_features import PIXELS, complete_features, dtype_of, encode_maps, frozen_encoders, is_cached
from ..progress import progress
from ..registry import DATASETS
from ..structures import SegDataSample
from .loading import prepare_model

SPLITS = ('train', 'val', 'test')


@dataclass
class Filled:
    """What filling a cache did.

    Args:
        folder: The cache.
        there: Images whose features were there.
        made: Images that were encoded.
    """

    folder: Path
    there: int = 0
    made: int = 0


def fill_cache(
    config: str | Path,
    *,
    options: Sequence[str] = (),
    splits: Sequence[str] = ('train', 'val'),
    settings: dict[str, Any] | None = None,
    batch_size: int = 4,
    workers: int = 2,
    device: str | None = None,
    say: Callable[[str], None] = print,
) -> Filled:
    """Encode all images of a config's data sets whose features are not on disk; may be broken off, and run beside others.

    The features are those that this config asks for: of 'train' and 'val' as its training computes them, of 'test' as
    ``tools/test.py`` does without options.

    Args:
        config: A config file.
        options: See :func:`lisa_mm.config.load_config`.
        splits: Out of :data:`SPLITS`; those that the config lacks are left out.
        settings: Arguments of :class:`FeatureCacheHook` that replace those of ``cache_features``.
        batch_size: Images at once.
        workers: Processes that decode.
        device: Device of the encoders; by default 'cuda' if available.
        say: Gets what it will take, before it begins.

    Raises:
        ConfigError: if the config cannot have a cache, names none of the splits, or the images need more than ``max_gib``.
        UserError: if the folder cannot be written or is full.
    """
    source = load_config(config, options=options)
    given = source.get('cache_features')
    source.cache_features = {**(given if isinstance(given, dict) else {}), **(settings or {})} or True
    weights, autocast = _training_formats(source)
    ready = prepare_model(source, None, device=device)
    written = next(hook for hook in ready.compiled.custom_hooks if hook.get('type') == HOOK)
    hook = FeatureCacheHook(**{key: value for key, value in written.items() if key != 'type'})
    loaders = {split: ready.compiled.get(f'{split}_dataloader') for split in SPLITS if split in splits}
    datasets = {split: DATASETS.build(loader.dataset.to_dict()) for split, loader in loaders.items() if loader}
    if not datasets:
        raise ConfigError(f'{config} has no {" or ".join(f"{split}_dataloader" for split in splits)}: there is nothing to keep.')
    model = ready.load()
    filled: Filled | None = None
    for split in sorted(datasets, key=SPLITS.index, reverse=True):  # 'test' first: it has the weights as they were read
        if split != 'test':
            for module in frozen_encoders(model)[0].values():
                module.to(weights)
        hook.attach(model, datasets[split], autocast if split == 'train' else None)
        assert hook.store is not None
        filled = filled or Filled(hook.store.folder)
        for owner, step in caching_steps(datasets[split]):
            asked, shown = _paths(owner)
            tower = {name: key for name, key in step.encoders.items() if name == 'vision_tower'}
            with torch.autocast(ready.device.type, dtype=autocast, enabled=split == 'train' and autocast is not None):
                for paths, encoders in ((asked, step.encoders), (shown, tower)):
                    if paths and encoders:
                        _fill(model, _alone(step, encoders), paths, filled, (split, batch_size, workers), say)
    assert filled is not None
    return filled


def _training_formats(source: Config) -> tuple[torch.dtype, torch.dtype | None]:
    """Number formats of weights and autocast in training."""
    strategy = source.get('strategy')
    if not strategy:
        return torch.float32, None
    from ..engine.strategies.base import strategy_class

    if faults := FeatureCacheHook.strategy_faults(strategy):
        raise ConfigError(faults)
    return strategy_class(strategy.get('type')).number_formats(strategy)


def _paths(owner: Any) -> tuple[list[str | None], list[str | None]]:
    """The images of a data set that masks may be asked of, and those that are only shown; None stands for text alone.

    The mask decoder never sees the latter, in the published recipe the greater part of all images.
    """
    asked: dict[str | None, None] = {}
    shown: dict[str | None, None] = {}
    for member in _members(owner):
        for number, path in enumerate(image_paths(member)):
            # readers whose records list no masks draw them later
            wanted = asked if path is not None and member.get_data_info(number).get('masks', True) else shown
            wanted[path] = None
    return list(asked), [path for path in shown if path not in asked]


def _alone(step: CachedImages, encoders: Mapping[str, tuple[str, str | None]]) -> CachedImages:
    """The steps that read and resize images, for some encoders."""
    assert step.store is not None
    alone = CachedImages([one for one in step.steps if type(one) in (LoadImage, *RESIZES.values())], pixels=False)
    alone.use(step.store, encoders)
    return alone


def _members(dataset: Any) -> Iterator[BaseSegDataset]:
    if isinstance(dataset, BaseSegDataset):
        yield dataset
        return
    if hasattr(dataset, 'members'):
        yield from dataset.members()
        return
    for child in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if child is None:
            raise UserError(f'{type(dataset).__name__} does not say which images it has. Train once with cache_features instead.')
        yield from _members(child)


class _Images(Dataset):
    """Images as the encoders take them, or the features that are there."""

    def __init__(self, step: CachedImages, paths: list[str | None]):
        self.step, self.paths = step, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[dict[str, Any], SegDataSample]:
        path = self.paths[number]
        results = self.step.transform({'img_path': path, 'sample_id': str(path)})
        return pack_images(results), SegDataSample(metainfo={'resized_size': results['resized_size']})


def _join(items: list[tuple[dict[str, Any], SegDataSample]]) -> tuple[int, dict[str, Any] | None]:
    """Look a batch up: the number of images that have all their features, and the others as a batch."""
    others = [(inputs, sample) for inputs, sample in items if inputs['cached'].found.keys() != inputs['cached'].encoders.keys()]
    if not others:
        return len(items), None
    batch = {'inputs': stack_images([inputs for inputs, _ in others]), 'data_samples': [sample for _, sample in others]}
    return len(items) - len(others), batch


def _fill(
    model: LISA,
    step: CachedImages,
    paths: list[str | None],
    filled: Filled,
    how: tuple[str, int, int],
    say: Callable[[str], None],
) -> None:
    split, batch_size, workers = how
    store = step.store
    assert store is not None
    size, seconds = _measure(model, step)
    needed = len(paths) * size
    try:
        there, free = sum(store.bytes_of(encoder) for encoder, _ in step.encoders.values()), store.room()
    except OSError as error:
        raise UserError(f'{store.folder} cannot be written ({error}). Give --folder another one, or make it writable.') from error
    say(
        f'{split}: {len(paths):,} images for {" and ".join(step.encoders)}, {size / 2**20:.3g} MiB each, '
        f'{needed / 2**30:.3g} GiB in {store.folder} ({there / 2**30:.3g} GiB of these encoders are there). '
        f'To encode all takes about {len(paths) * seconds / 60:.3g} minutes on {model.data_preprocessor.mean.device}; '
        'what is there is skipped'
    )
    if needed > store.max_bytes:
        raise ConfigError(
            f'the features need {needed / 2**30:.3g} GiB, max_gib is {store.max_bytes / 2**30:.3g}. Give --max-gib '
            f'{needed / 2**30 * 1.02:.3g}, and cache_features=dict(max_gib=...) in training too; --dtype float16 halves float32.'
        )
    if needed - there > free:
        raise UserError(
            f'the features need {(needed - there) / 2**30:.3g} GiB more, and the disk of {store.folder} has '
            f'{free / 2**30:.3g} GiB to give (a 20th of it stays free). Give --folder on another one.'
        )
    batches = DataLoader(_Images(step, paths), batch_size=batch_size, num_workers=workers, collate_fn=_join)
    for present, batch in progress(batches, f'cache {split}', 'batch'):
        filled.there += present
        if batch is not None:
            filled.made += len(batch['data_samples'])
            _encode(model, batch)
        if store.stopped is not None:
            raise UserError(store.stopped)


@torch.no_grad()
def _encode(model: LISA, batch: dict[str, Any]) -> None:
    """Encode and keep what is missing."""
    inputs: Any = model.data_preprocessor(batch)['inputs']
    for name, owner in _owners(model).items():
        if is_cached(name, inputs):
            complete_features(name, owner, inputs, list(range(len(inputs['cached']['keys']))))


def _owners(model: LISA) -> dict[str, BaseMLLM | BaseMaskDecoder]:
    return {'vision_tower': model.mllm, 'image_encoder': model.mask_decoder}


@torch.no_grad()
def _measure(model: LISA, step: CachedImages) -> tuple[int, float]:
    """Bytes on disk and seconds of one image."""
    results: dict[str, Any] = {'img': np.zeros((64, 64, 3), np.uint8), 'sample_id': 'a black image'}
    for one in step.steps:
        if type(one) in RESIZES.values():
            results = one(results)
    sample = SegDataSample(metainfo={'resized_size': results['resized_size']})
    inputs = model.data_preprocessor({'inputs': stack_images([pack_images(results)]), 'data_samples': [sample]})['inputs']
    size, seconds = 0, 0.0
    for name, (_, stored) in step.encoders.items():
        owner, pixels = _owners(model)[name], inputs[PIXELS[name]]
        encode_maps(owner, pixels)['features'].flatten()[0].item()  # pays for what is made once
        began = time.perf_counter()
        maps = encode_maps(owner, pixels)
        maps['features'].flatten()[0].item()  # waits for the device
        seconds += time.perf_counter() - began
        size += sum(value.numel() * (dtype_of(stored).itemsize if stored else value.element_size()) for value in maps.values())
    return size, seconds
