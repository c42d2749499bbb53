"""One process on one device, without DeepSpeed."""

from __future__ import annotations

from typing import Any

import torch
from mmengine._strategy import SingleDeviceStrategy
from torch import nn

from lisa_mm.errors import ConfigError
from lisa_mm.registry import STRATEGIES

from .base import FolderCheckpointMixin


@STRATEGIES.register_module()
class LisaSingleDeviceStrategy(FolderCheckpointMixin, SingleDeviceStrategy):
    """Trains on the GPU if there is one, else on the CPU.

    Args:
        accumulation: Micro-batches of one optimizer step; their gradients are averaged.
        target_batch: Instead: samples of one optimizer step.
        gradient_clipping: The largest norm of the gradient; 0 for no clipping.
        train_micro_batch_size_per_gpu: Samples of one forward; the runner takes it from the data loader.
        kwargs: mmengine's ``BaseStrategy`` arguments; the runner gives them.

    Raises:
        ConfigError: if several processes were started.
    """

    zero_stage = None

    def __init__(
        self,
        *,
        accumulation: int | None = None,
        target_batch: int | None = None,
        gradient_clipping: float = 1.0,
        train_micro_batch_size_per_gpu: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if self.world_size > 1:
            raise ConfigError(
                f'{self.world_size} processes were started, but LisaSingleDeviceStrategy is for one: use a DeepSpeed one.'
            )
        self.gradient_clipping = gradient_clipping
        self.set_up_batch(accumulation=accumulation, target_batch=target_batch, micro_batch=train_micro_batch_size_per_gpu)

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self.model

    def build_optim_wrapper(self, optim_wrapper: Any, model: Any = None) -> Any:
        """Build the optimizer with the trained parameters only."""
        return self.build_trained_optimizer(optim_wrapper, model, wrapper_type='OptimWrapper')

    def compute_losses(self, data: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The forward of a micro-batch: the total, and what to log."""
        data = self.model.data_preprocessor(data, True)
        return self.model.parse_losses(self.model(**data, mode='loss'))

    def backward_and_step(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; with the last one, clip and step."""
        (loss / self.accumulation).backward()
        if not last:
            return
        if self.gradient_clipping > 0:
            parameters = [parameter for group in self.optim_wrapper.param_groups for parameter in group['params']]
            torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clipping)
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()

    def optimizer_state(self) -> dict:
        """The optimizer's state, in plain types."""
        return self.optim_wrapper.optimizer.state_dict()

    def load_optimizer_state(self, state: dict) -> None:
        """Restore :meth:`optimizer_state`."""
        self.optim_wrapper.optimizer.load_state_dict(state)

    def weights_changed(self) -> None:
        """Nothing else holds the weights."""
