"""A whole copy of the model on every process, with torch's DistributedDataParallel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine._strategy import DDPStrategy
from mmengine.model import MMDistributedDataParallel
from torch import nn

from lisa_mm.registry import STRATEGIES

from ..launch import detect_launcher, leave_group_at_exit
from ..sending import send_weights
from .batch import planned_accumulation
from .memory_plan import MemoryPlan
from .plain import PlainStepsMixin


@STRATEGIES.register_module()
class LisaDDPStrategy(PlainStepsMixin, DDPStrategy):
    """Averages the gradients of all processes once per optimizer step, with its last micro-batch.

    Trained parameters that a batch does not use (say, no masks on one process) are found after each forward, so that no
    process waits for its gradient.

    Args:
        accumulation: Micro-batches per optimizer step; their gradients are averaged.
        target_batch: Instead: samples of one optimizer step over all processes.
        gradient_clipping: Maximum gradient norm; 0 for no clipping.
        bf16: Run the training forward in bfloat16 (autocast); parameters, gradients and optimizer stay in float32.
        train_micro_batch_size_per_gpu: Samples per forward; the runner takes it from the data loader.
        kwargs: Arguments of mmengine's ``BaseStrategy``; the runner gives them.
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
        self.gradient_clipping = gradient_clipping
        self.bf16 = bf16
        self.set_up_batch(accumulation=accumulation, target_batch=target_batch, micro_batch=train_micro_batch_size_per_gpu)

    def _setup_env(self, *, launcher: str | None = None, dist_cfg: dict | None = None, **kwargs: Any) -> None:
        # DDP needs a process group even in a world of one
        detect_launcher()
        super()._setup_env(launcher='pytorch' if launcher in (None, 'none') else launcher, dist_cfg=dist_cfg, **kwargs)

    def _setup_distributed(self, launcher: str = 'pytorch', backend: str | None = None, **kwargs: Any) -> None:
        # mmengine's own sets a CUDA device for gloo too; detect_launcher has already set one environment for all launchers
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        torch.distributed.init_process_group(backend or ('nccl' if torch.cuda.is_available() else 'gloo'), **kwargs)
        leave_group_at_exit()

    def _wrap_model(self, model: nn.Module) -> nn.Module:  # pyright: ignore[reportIncompatibleMethodOverride] - a frozen model stays bare
        device = torch.device('cuda', int(os.environ['LOCAL_RANK'])) if torch.cuda.is_available() else torch.device('cpu')
        model = self.convert_model(model.to(device))
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model  # DDP refuses it; our optimizer reports the fault, and an evaluation needs no wrapper
        on_cpu = device.type == 'cpu'
        if on_cpu:
            send_weights(model)  # torch's own would give every process a copy of the weight files
        return MMDistributedDataParallel(
            module=model,
            device_ids=None if on_cpu else [device.index],
            init_sync=not on_cpu,
            broadcast_buffers=False,
            find_unused_parameters=True,
        )

    @property
    def module(self) -> nn.Module:
        """The model inside torch's wrapper."""
        return self.model.module if isinstance(self.model, MMDistributedDataParallel) else self.model

    def compute_losses(self, data: dict, *, last: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward of a micro-batch; decides whether its backward averages over the processes."""
        self.model.require_backward_grad_sync = last
        return super().compute_losses(data, last=last)

    @classmethod
    def memory_plan(cls, config: Mapping[str, Any], *, processes: int, micro_batch: int, device: str) -> MemoryPlan:
        """Everything on each GPU in float32; the bfloat16 copies of autocast are not known."""
        return MemoryPlan(
            None,
            processes=processes,
            accumulation=planned_accumulation(config, processes=processes, micro_batch=micro_batch),
            copied_gradients=True,
            device=device,
        )

    @classmethod
    def memory_savings(cls, config: Mapping[str, Any], *, processes: int) -> Iterator[list[str]]:
        """DeepSpeed with the same batch, which shards what each GPU copies here."""
        deepspeed = ['strategy.type=LisaDeepSpeedStrategy', *([] if config.get('bf16') else ['strategy.bf16=True'])]
        yield deepspeed
        if processes > 1:
            yield [*deepspeed, 'strategy.zero_stage=3']
