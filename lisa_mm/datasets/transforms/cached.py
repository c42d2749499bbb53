"""The beginning of a pipeline with a feature cache: images whose features are on disk are not decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcv.transforms import BaseTransform

from ...errors import ConfigError
from ...registry import TRANSFORMS
from ..feature_store import Entry, FeatureStore
from ..parquet import open_file
from .images import LoadImage, ResizeForMaskDecoder, ResizeForVisionTower

RESIZES: dict[str, type[BaseTransform]] = {'vision_tower': ResizeForVisionTower, 'image_encoder': ResizeForMaskDecoder}


@dataclass(frozen=True)
class CachedImage:
    """What is known of one image.

    Args:
        key: Its key in the store.
        encoders: Name of each cached encoder -> its key in the store, and the number format that is kept there (None: as given).
        found: Name -> entry, for the encoders that have one.
        original_size: Height and width of the image.
        resized_size: Height and width inside the mask decoder's padded square.
    """

    key: str
    encoders: Mapping[str, tuple[str, str | None]]
    found: dict[str, Entry]
    original_size: tuple[int, int]
    resized_size: tuple[int, int]


class CachedImages(BaseTransform):
    """Runs the steps from LoadImage to the last that prepares an image for an encoder, without those that nothing needs any more.

    ``cached`` is added, a :class:`CachedImage`. The image of a sample without one counts as an image: an encoder sees it too.

    Args:
        steps: The steps.
        pixels: Whether a later step reads ``img``, so that every image is decoded.
    """

    def __init__(self, steps: Sequence[Any], *, pixels: bool):
        self.steps = list(steps)
        self.pixels = pixels
        load: Any = self.steps[0]
        self.settings = json.dumps(load.value_range, default=list)
        # set by use
        self.store: FeatureStore | None = None
        self.encoders: dict[str, tuple[str, str | None]] = {}

    def use(self, store: FeatureStore, encoders: Mapping[str, tuple[str, str | None]]) -> None:
        """Look features up from now on; processes that were started before do not know of it.

        Args:
            store: Where they lie.
            encoders: As in :class:`CachedImage`.
        """
        self.store, self.encoders = store, dict(encoders)

    def key_of(self, path: str | None) -> str | None:
        """An image's key: a hash of its file and of the settings of LoadImage; None if there is no such file."""
        digest = hashlib.blake2b(self.settings.encode(), digest_size=20)
        if path is not None:
            try:
                with open_file(path) as file:
                    digest.update(file.read())
            except OSError:
                return None
        return digest.hexdigest()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        key = self.key_of(results['img_path']) if self.store is not None else None
        found: dict[str, Entry] = {}
        if self.store is not None and key is not None:  # LoadImage says what a missing file means
            entries = {name: self.store.read(encoder, key) for name, (encoder, _) in self.encoders.items()}
            found = {name: entry for name, entry in entries.items() if entry is not None}
        known = next(iter(found.values()), None)
        enough = [cls for name, cls in RESIZES.items() if name in found]
        unread = not self.pixels and all(type(step) in enough for step in self.steps if 'img' in step.needs)
        for step in self.steps:
            if known is not None and unread and type(step) is LoadImage:
                results = {**results, 'original_size': known.original_size}
            elif type(step) not in enough:
                results = step(results)
            elif type(step) is ResizeForMaskDecoder:
                results = {**results, 'resized_size': found['image_encoder'].resized_size}
        if key is None:
            return results
        cached = CachedImage(key, self.encoders, found, results['original_size'], results['resized_size'])
        return {**results, 'cached': cached}


def cached_steps(pipeline: Sequence[Any]) -> tuple[int, int, bool]:
    """The steps of a pipeline, written or built, that :class:`CachedImages` takes over.

    Returns:
        The first of them, the one after the last, and whether a later step reads the pixels.

    Raises:
        ConfigError: if one of them is not known to leave the image as it is in its file.
    """
    kinds: list[Any] = [TRANSFORMS.get(step['type']) if isinstance(step, dict) else type(step) for step in pipeline]
    resizes = [number for number, kind in enumerate(kinds) if kind in RESIZES.values()]
    if LoadImage not in kinds or ResizeForMaskDecoder not in kinds:
        raise ConfigError(
            'cache_features knows images by their files, read by LoadImage and resized by ResizeForMaskDecoder; this pipeline '
            f'has {", ".join(_name(kind) for kind in kinds)}. Leave cache_features out.'
        )
    first, end = kinds.index(LoadImage), max(resizes) + 1
    load = pipeline[first]
    if load.get('draft') if isinstance(load, dict) else load.draft:
        raise ConfigError(
            'cache_features decodes each image once and keeps its features; LoadImage.draft would make them those of a smaller '
            'image, also in testing. Leave draft out, or leave cache_features out.'
        )
    for kind in kinds[first + 1 : end]:
        if not hasattr(kind, 'gives') or not hasattr(kind, 'needs') or 'img' in kind.gives:
            raise ConfigError(
                f'cache_features keeps the features of an image as it is in its file, but {_name(kind)} stands between LoadImage '
                'and the steps that resize: it may change the image, differently each time, so its features could not be kept. '
                'Take it out, put it after ResizeForMaskDecoder if it leaves img alone, or leave cache_features out.'
            )
    return first, end, any('img' in getattr(kind, 'needs', ('img',)) for kind in kinds[end:])


def _name(kind: Any) -> str:
    return getattr(kind, '__name__', str(kind))


def caching_steps(dataset: Any) -> list[tuple[Any, CachedImages]]:
    """The :class:`CachedImages` of a data set and of those inside it, put into their pipelines unless they are there.

    Returns:
        Each data set that has a pipeline, with this step of it.

    Raises:
        ConfigError: see :func:`cached_steps`; also if there is no pipeline.
    """
    found: list[tuple[Any, CachedImages]] = []
    for owner, pipeline in _pipelines(dataset):
        already = [step for step in pipeline if isinstance(step, CachedImages)]
        if not already:
            first, end, pixels = cached_steps(pipeline)
            already = [CachedImages(pipeline[first:end], pixels=pixels)]
            pipeline[first:end] = already
        found += [(owner, step) for step in already]
    if not found:
        raise ConfigError(f'cache_features: {type(dataset).__name__} has no pipeline. Leave cache_features out.')
    return found


def _pipelines(dataset: Any) -> list[tuple[Any, list[Any]]]:
    """A data set and those inside it, each with its list of steps; those without any step are left out."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    inside = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return [
        *([(dataset, steps)] if steps else []),
        *(found for child in inside if child is not None for found in _pipelines(child)),
    ]
