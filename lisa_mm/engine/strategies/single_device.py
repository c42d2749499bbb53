"""One process on one device, without DeepSpeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine._strategy import SingleDeviceStrategy

from lisa_mm.errors import ConfigError
from lisa_mm.registry import STRATEGIES

from .batch import planned_accumulation
from .memory_plan import MemoryPlan
from .plain import PlainStepsMixin


@STRATEGIES.register_module()
class LisaSingleDeviceStrategy(PlainStepsMixin, SingleDeviceStrategy):
    """Trains on the GPU if there is one, otherwise on the CPU.

    Args:
        accumulation: Micro-batches per optimizer step; their gradients are averaged.
        target_batch: Instead: samples of one optimizer step.
        gradient_clipping: Maximum gradient norm; 0 for no clipping.
        bf16: Run the training forward in bfloat16 (autocast); parameters, gradients and optimizer stay in float32.
        train_micro_batch_size_per_gpu: Samples per forward; the runner takes it from the data loader.
        kwargs: Arguments of mmengine's ``BaseStrategy``; the runner gives them.

    Raises:
        ConfigError: if several processes were started.
    """

    def __init__(
        self,
        *,
        accumulation: int | None = None,
        target_batch: int | None = None,
        gradient_clipping: float = 1.0,
        bf16: bool = False,
        train_micro_batch_size_per_gpu: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if self.world_size > 1:
            raise ConfigError(
                f'{self.world_size} processes were started, but strategy.type is LisaSingleDeviceStrategy, which is for one: '
                'use LisaDDPStrategy or LisaDeepSpeedStrategy (--swap strategy=ddp).'
            )
        self.gradient_clipping = gradient_clipping
        self.bf16 = bf16
        self.set_up_batch(accumulation=accumulation, target_batch=target_batch, micro_batch=train_micro_batch_size_per_gpu)

    @classmethod
    def memory_plan(cls, config: Mapping[str, Any], *, processes: int, micro_batch: int, device: str) -> MemoryPlan:
        """Everything on one GPU in float32; the bfloat16 copies of autocast are not known."""
        if processes > 1:
            raise ConfigError(
                f'LisaSingleDeviceStrategy is for one GPU, not {processes}: set strategy.type=LisaDeepSpeedStrategy.'
            )
        return MemoryPlan(None, accumulation=planned_accumulation(config, processes=1, micro_batch=micro_batch), device=device)
