"""Optimizer steps with plain torch, for a single device and DDP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from .base import FolderCheckpointMixin
from .optimizer_tensors import WholeTensors


class PlainStepsMixin(FolderCheckpointMixin):
    """Accumulates, clips and steps with mmengine's optimizer wrapper; every process holds the whole state."""

    zero_stage = None
    wrapper_type = 'OptimWrapper'
    bf16: bool

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self.model

    @property
    def autocast(self) -> torch.dtype | None:
        """bfloat16 where the strategy says so."""
        return torch.bfloat16 if self.bf16 else None

    @classmethod
    def number_formats(cls, config: Mapping[str, Any]) -> tuple[torch.dtype, torch.dtype | None]:
        """Weights in float32."""
        return torch.float32, torch.bfloat16 if config.get('bf16') else None

    def compute_losses(self, data: dict, *, last: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward of a micro-batch: the total loss, and values to log."""
        module: Any = self.module
        data = module.data_preprocessor(data, True)
        device = next(module.parameters()).device.type
        with torch.autocast(device, dtype=self.autocast) if self.autocast else nullcontext():
            losses = self.model(**data, mode='loss')
        return module.parse_losses(losses)

    def backward_and_step(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; after the last one, clip and step."""
        (loss / self.accumulation).backward()
        if not last:
            return
        if self.gradient_clipping > 0:
            parameters = [parameter for group in self.optim_wrapper.param_groups for parameter in group['params']]
            torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clipping)
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()

    def optimizer_tensors(self) -> WholeTensors:
        """The optimizer's state by the names of the model's parameters."""
        parameters = self.trained_parameters()
        return WholeTensors(self.optim_wrapper.optimizer, parameters, parameters)

    def weights_changed(self) -> None:
        """Nothing to update: no other copy of the weights exists."""
