"""Keeps the features of frozen encoders on disk, so that an image is encoded once and not in every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from lisa_mm.datasets.feature_store import FeatureStore, default_folder
from lisa_mm.datasets.transforms.cached import caching_steps
from lisa_mm.errors import ConfigError, nearest
from lisa_mm.models import LISA
from lisa_mm.models.frozen_features import encoder_key, frozen_encoders, weights_key
from lisa_mm.registry import HOOKS

if TYPE_CHECKING:
    from lisa_mm.engine.runner import LisaRunner

DTYPES = ('float32', 'bfloat16', 'float16')


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """The config's key ``cache_features``: images whose features are on disk are neither decoded nor encoded.

    It keeps what a frozen vision tower and a frozen image encoder of the mask decoder give, in training, validation and testing.
    Data workers read the features; the process that trains encodes the images that have none, and writes them. An entry is found
    by the encoder's weights and settings, the preprocessing, and the content of the image's file.

    Args:
        folder: Where the features lie; by default ``features`` in ``$LISA_MM_CACHE`` or ``~/.cache/lisa_mm``.
        dtype: Number format on disk: 'float32', 'bfloat16' or 'float16'. By default the one that the encoder gives, which
            changes no number.
        max_gib: Limit of the folder in GiB; what was used longest ago is removed.

    Raises:
        ConfigError: for values that are not allowed.
    """

    def __init__(self, folder: str | None = None, dtype: str | None = None, max_gib: float = 100):
        faults = []
        if dtype is not None and dtype not in DTYPES:
            faults.append(f'dtype is {dtype!r}; allowed: {", ".join(map(repr, DTYPES))}.{nearest(dtype, DTYPES)}')
        if max_gib <= 0:
            faults.append(f'max_gib is {max_gib!r}; give a number of GiB above 0.')
        if faults:
            raise ConfigError(faults)
        self.folder, self.dtype, self.max_gib = folder, dtype, max_gib
        self.store: FeatureStore | None = None
        self._weights: dict[str, str] = {}

    @classmethod
    def strategy_faults(cls, strategy: Mapping[str, Any]) -> list[str]:
        """Under ZeRO-3 all processes run each module together, although some may have found all their features."""
        if strategy.get('zero_stage') == 3:
            return [
                'cache_features does not go with strategy.zero_stage=3, which shards the frozen encoders: a process that found '
                'its features would leave the others waiting. Set strategy.zero_stage=2, or leave cache_features out.'
            ]
        return []

    def before_train(self, runner: LisaRunner) -> None:
        """The weights are there, and the data workers are not started yet."""
        self._begin(runner, runner.train_loop, cast('Any', runner.strategy).autocast)

    def before_val(self, runner: LisaRunner) -> None:
        """As for training."""
        self._begin(runner, runner.val_loop, torch.float16 if getattr(runner.val_loop, 'fp16', False) else None)

    def before_test(self, runner: LisaRunner) -> None:
        """As for training."""
        self._begin(runner, runner.test_loop, torch.float16 if getattr(runner.test_loop, 'fp16', False) else None)

    def _begin(self, runner: LisaRunner, loop: Any, autocast: torch.dtype | None) -> None:
        model: Any = getattr(runner.strategy, 'module', None) or runner.model
        lines = self.attach(model.module if is_model_wrapper(model) else model, loop.dataloader.dataset, autocast)
        if runner.rank == 0:
            for line in lines:
                runner.logger.info(line)

    def attach(self, model: LISA, dataset: Any, autocast: torch.dtype | None) -> list[str]:
        """Have a data set look features up, and a model keep them.

        Args:
            model: The model with its weights.
            dataset: A built data set.
            autocast: Number format of autocast in the forward.

        Returns:
            Lines for the log, the first time.

        Raises:
            ConfigError: if no encoder is frozen, or the data set's pipeline changes images.
        """
        encoders, reasons = frozen_encoders(model)
        if not encoders:
            raise ConfigError(f'cache_features has no features to keep: {"; ".join(reasons.values())}. Leave it out.')
        first = self.store is None
        if self.store is None:
            self.store = FeatureStore(self.folder or default_folder(), int(self.max_gib * 2**30))
        keys = {name: (self._key(name, model, encoder, autocast), self.dtype) for name, encoder in encoders.items()}
        for _, step in caching_steps(dataset):
            step.use(self.store, keys)
        model.mllm.feature_store = model.mask_decoder.feature_store = self.store
        if not first:
            return []
        kept = ', '.join(f'{name} ({key})' for name, (key, _) in keys.items())
        return [
            f'features of {kept} are kept in {Path(self.store.folder)}',
            *(f'features of {name} are not kept: {reason}' for name, reason in reasons.items()),
        ]

    def _key(self, name: str, model: LISA, encoder: nn.Module, autocast: torch.dtype | None) -> str:
        if name not in self._weights:
            self._weights[name] = weights_key(encoder)
        part = model.mllm if name == 'vision_tower' else model.mask_decoder
        on_gpu = next(encoder.parameters()).is_cuda
        tf32 = on_gpu and torch.backends.cudnn.allow_tf32
        return encoder_key(self._weights[name], part.preprocess, autocast=autocast, tf32=tf32, stored=self.dtype)
