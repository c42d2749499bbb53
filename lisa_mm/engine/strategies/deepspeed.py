"""Training with DeepSpeed's ZeRO stages 0 to 3, on one or many processes, with or without a GPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmengine._strategy import DeepSpeedStrategy
from mmengine.logging import print_log
from torch import nn

from lisa_mm.errors import ConfigError, nearest
from lisa_mm.registry import STRATEGIES
from lisa_mm.sharding import is_sharded, is_sharded_parameter

from .. import patches
from ..launch import detect_launcher, leave_group_at_exit
from .base import FolderCheckpointMixin
from .batch import planned_accumulation
from .memory_plan import MemoryPlan
from .optimizer_tensors import ShardedTensors, WholeTensors

SMALL_BUCKET = 50_000_000  # elements: large enough to keep the network busy


@STRATEGIES.register_module()
class LisaDeepSpeedStrategy(FolderCheckpointMixin, DeepSpeedStrategy):
    """Trains with a DeepSpeed engine.

    DeepSpeed compiles nothing at run time: give a torch optimizer (``AdamW``).

    Args:
        zero_stage: 0 (plain data parallel) to 3 (parameters sharded).
        accumulation: Micro-batches per optimizer step; their gradients are averaged.
        target_batch: Instead: samples of one optimizer step over all processes.
        gradient_clipping: Maximum gradient norm; 0 for no clipping.
        bf16: Parameters and activations in bfloat16, the optimizer in float32.
        fp16: The same in float16, with dynamic loss scaling.
        offload: ``'optimizer'`` keeps the optimizer state in CPU memory, ``'all'`` (stage 3) the parameters too.
        zero_options: Further keys of DeepSpeed's ``zero_optimization``, such as bucket sizes.
        train_micro_batch_size_per_gpu: Samples per forward; the runner takes it from the data loader.
        kwargs: Arguments of mmengine's ``BaseStrategy``; the runner gives them.

    Raises:
        ConfigError: for values that contradict each other.
    """

    wrapper_type = 'DeepSpeedOptimWrapper'

    def __init__(
        self,
        *,
        zero_stage: int = 2,
        accumulation: int | None = None,
        target_batch: int | None = None,
        gradient_clipping: float = 1.0,
        bf16: bool = False,
        fp16: bool = False,
        offload: str | None = None,
        zero_options: dict | None = None,
        train_micro_batch_size_per_gpu: int = 1,
        **kwargs: Any,
    ):
        faults = self.argument_faults(
            {'zero_stage': zero_stage, 'bf16': bf16, 'fp16': fp16, 'offload': offload, 'zero_options': zero_options}
        )
        if fp16 and not torch.cuda.is_available():
            faults.append('strategy.fp16 needs a GPU, and there is none: use bf16, or neither.')
        if faults:
            raise ConfigError(faults)
        patches.load_deepspeed()
        patches.register_todays_optimizers()
        super().__init__(
            zero_optimization={'stage': zero_stage, **_offload_options(offload), **(zero_options or {})},
            gradient_clipping=gradient_clipping,
            bf16={'enabled': bf16},
            fp16={'enabled': fp16},
            train_micro_batch_size_per_gpu=train_micro_batch_size_per_gpu,
            exclude_frozen_parameters=True,
            **kwargs,
        )
        self.zero_stage = zero_stage
        self.parameter_dtype = torch.bfloat16 if bf16 else torch.float16 if fp16 else torch.float32
        self.gradient_clipping = gradient_clipping
        self.set_up_batch(accumulation=accumulation, target_batch=target_batch, micro_batch=train_micro_batch_size_per_gpu)
        self.config.update(
            gradient_accumulation_steps=self.accumulation,
            zero_allow_untested_optimizer=True,
            # torch's AdamW on the CPU instead of DeepSpeed's, which compiles at the first step
            zero_force_ds_cpu_optimizer=False,
        )

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Contradictory arguments, as far as they can be found before processes start."""
        stage, offload = arguments.get('zero_stage', 2), arguments.get('offload')
        faults = super().argument_faults(arguments)
        if stage not in (0, 1, 2, 3):
            faults.append(f'strategy.zero_stage is {stage!r}; it can be 0, 1, 2 or 3.')
        if arguments.get('bf16') and arguments.get('fp16'):
            faults.append('strategy has both bf16=True and fp16=True: choose one.')
        if arguments.get('fp16') and stage == 0:
            faults.append(
                'strategy has fp16=True and zero_stage=0: there DeepSpeed divides gradients by a loss scale that it never '
                'multiplied the loss by, so they underflow and are never clipped. Give zero_stage=1 (same weights on each '
                'process, only the optimizer is sharded), or bf16=True.'
            )
        if offload not in (None, 'optimizer', 'all'):
            faults.append(f"strategy.offload is {offload!r}; it can be None, 'optimizer' or 'all'.")
        elif (offload == 'all' and stage != 3) or (offload == 'optimizer' and stage == 0):
            faults.append(
                f"strategy.offload={offload!r} does not go with zero_stage={stage}: 'optimizer' needs 1-3, 'all' needs 3."
            )
        if 'stage' in (arguments.get('zero_options') or {}):
            faults.append("strategy.zero_options has 'stage': give strategy.zero_stage instead.")
        from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

        fields = DeepSpeedZeroConfig.model_fields
        known = {name for key, field in fields.items() for name in (key, field.alias or key)}  # stage3_... are aliases
        return faults + [
            f'strategy.zero_options has no {key!r}.{nearest(key, known)}'
            for key in arguments.get('zero_options') or {}
            if key not in known
        ]

    @classmethod
    def number_formats(cls, config: Mapping[str, Any]) -> tuple[torch.dtype, torch.dtype | None]:
        """All weights in the half format, if there is one."""
        return torch.bfloat16 if config.get('bf16') else torch.float16 if config.get('fp16') else torch.float32, None

    @classmethod
    def memory_plan(cls, config: Mapping[str, Any], *, processes: int, micro_batch: int, device: str) -> MemoryPlan:
        """The split of its ZeRO stage; buckets and distances as written, otherwise DeepSpeed's defaults."""
        stage, options = int(config.get('zero_stage', 2)), dict(config.get('zero_options') or {})
        overlap = options.get('overlap_comm')
        return MemoryPlan(
            stage,
            processes=processes,
            half=bool(config.get('bf16') or config.get('fp16')),
            accumulation=planned_accumulation(config, processes=processes, micro_batch=micro_batch),
            bucket=int(options.get('reduce_bucket_size', MemoryPlan.bucket)),
            overlap=stage == 3 if overlap is None else bool(overlap),
            offload=config.get('offload'),
            prefetch=int(options.get('stage3_prefetch_bucket_size', MemoryPlan.prefetch)),
            reuse_distance=int(options.get('stage3_max_reuse_distance', MemoryPlan.reuse_distance)),
            device=device,
        )

    @classmethod
    def memory_savings(cls, config: Mapping[str, Any], *, processes: int) -> Iterator[list[str]]:
        """Half precision, smaller buckets, a higher ZeRO stage, and offloading."""
        stage, options = int(config.get('zero_stage', 2)), config.get('zero_options')
        if not config.get('bf16') and not config.get('fp16'):
            yield ['strategy.bf16=True']
        if stage and int((options or {}).get('reduce_bucket_size', MemoryPlan.bucket)) > SMALL_BUCKET:
            yield [
                f'strategy.zero_options.reduce_bucket_size={SMALL_BUCKET}'
                if options
                else f"strategy.zero_options={{'reduce_bucket_size':{SMALL_BUCKET}}}"
            ]
        for larger in range(max(stage + 1, 2), 4):
            if processes > 1:
                yield [f'strategy.zero_stage={larger}']
        if not config.get('offload'):
            if stage:
                yield ['strategy.offload=optimizer']
            yield ['strategy.zero_stage=3', 'strategy.offload=all']

    def _setup_env(self, *, launcher: str | None = None, dist_cfg: dict | None = None, **kwargs: Any) -> None:
        # an engine needs a process group even in a world of one
        detect_launcher()
        super()._setup_env(launcher='pytorch' if launcher in (None, 'none') else launcher, dist_cfg=dist_cfg, **kwargs)

    def _setup_distributed(self, launcher: str | None = None, backend: str | None = None, **kwargs: Any) -> None:
        import deepspeed

        patches.leave_out_shm_op()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
            deepspeed.init_distributed(backend or 'nccl', auto_mpi_discovery=False, verbose=False, **kwargs)
        else:
            deepspeed.init_distributed('gloo', auto_mpi_discovery=False, verbose=False, **kwargs)
        leave_group_at_exit()

    @property
    def module(self) -> nn.Module:
        """The model inside DeepSpeed's engine."""
        return self.model.model.module

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model; with ZeRO-3 transformers shards what it loads while it loads it."""
        if self.zero_stage != 3:
            return super().build_model(model)
        from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

        # transformers looks for a live object of this class; if it stayed alive, every later model would be sharded
        living = HfDeepSpeedConfig({**self.config, 'train_batch_size': self._train_batch()})
        try:
            built = super().build_model(model)
        finally:
            unset_hf_deepspeed_config()
            del living
        self._bring_beside_sharded(built)
        return built

    def _bring_beside_sharded(self, model: nn.Module) -> None:
        """Move and cast the rest: weights sharded by transformers are ready, so DeepSpeed moves and casts nothing."""
        if not is_sharded(model):
            return
        from deepspeed import get_accelerator

        # parameters of ours, buffers, and where batches go
        accelerator: Any = get_accelerator()
        model.to(accelerator.current_device_name())
        for parameter in model.parameters():
            if not is_sharded_parameter(parameter) and parameter.is_floating_point():
                parameter.data = parameter.data.to(self.parameter_dtype)

    def _wrap_model(self, model: nn.Module) -> Any:
        # an evaluation has no optimizer to shard, which DeepSpeed refuses; below stage 3 parameters are whole
        if not hasattr(self, 'optim_wrapper') and self.zero_stage in (1, 2):
            self.config['zero_optimization'] = {'stage': 0}
        same = patches.same_on_all_processes(model) if self.zero_stage == 3 else nullcontext()
        with same, nullcontext() if torch.cuda.is_available() else patches.equal_weights_kept():
            wrapped: Any = super()._wrap_model(model)
        if hasattr(wrapped.model.optimizer, 'fp32_groups_flat'):
            raise ConfigError(
                "optim_wrapper.optimizer.type 'FusedAdam' with strategy.zero_stage=0 in half precision keeps flat copies that "
                "checkpoints of this package do not hold. Give type='AdamW' with fused=True, or strategy.zero_stage=1."
            )
        return wrapped

    def _train_batch(self) -> int:
        return self.micro_batch * self.accumulation * self.world_size

    def compute_losses(self, data: dict, *, last: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward of a micro-batch: the total loss, and values to log."""
        data = self.module.data_preprocessor(data, True)  # type: ignore - torch types attributes as tensors
        return self.module.parse_losses(self.model.model(**data, mode='loss'))  # type: ignore - as above

    def backward_and_step(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; after the last one, the engine clips and steps."""
        engine: Any = self.model.model
        skipped = engine.skipped_steps
        self.optim_wrapper.backward(loss)
        self.optim_wrapper.step()
        if engine.skipped_steps > skipped:
            print_log(
                'this step was skipped and the weights are as before: a float16 gradient overflowed at its loss scale, which '
                f'is now {engine.optimizer.loss_scale:g}. Some skipped steps at the beginning are usual; if they go on, train in '
                'bf16.',
                logger='current',
                level=logging.WARNING,
            )

    def optimizer_tensors(self) -> WholeTensors | ShardedTensors:
        """The optimizer's state by the names of the model's parameters."""
        from deepspeed.runtime.base_optimizer import ZeROOptimizer

        optimizer, parameters = self.model.model.optimizer, self.trained_parameters()
        if isinstance(optimizer, ZeROOptimizer):
            return ShardedTensors(optimizer, parameters)
        copies = self._copies()
        held = {name: copies.get(id(parameter), parameter) for name, parameter in parameters.items()}
        return WholeTensors(getattr(optimizer, 'optimizer', optimizer), parameters, held)

    def _copies(self) -> dict[int, torch.Tensor]:
        """Stage 0 in half precision: the float32 copy of each parameter, by the parameter's id."""
        optimizer = self.model.model.optimizer
        groups = zip(getattr(optimizer, 'fp16_groups', []), getattr(optimizer, 'fp32_groups', []), strict=False)
        return {id(half): copy for halves, copies in groups for half, copy in zip(halves, copies, strict=True)}

    def master_weights(self, value: torch.Tensor) -> torch.Tensor | None:
        """The optimizer's float32 copy of a half-precision parameter, whole; None if there is none."""
        if self.zero_stage:
            return super().master_weights(value)
        return self._copies().get(id(value))

    def loss_scale(self) -> dict[str, Any] | None:
        """State of the loss scaler of float16."""
        scaler = getattr(self.model.model.optimizer, 'loss_scaler', None)
        if scaler is None or not self.config['fp16']['enabled']:
            return None
        return {key: value for key, value in vars(scaler).items() if isinstance(value, (int, float))}

    def restore_loss_scale(self, state: dict[str, Any] | None) -> None:
        """Restore :meth:`loss_scale`; from another precision the scale begins anew."""
        if state is not None and self.config['fp16']['enabled']:
            vars(self.model.model.optimizer.loss_scaler).update(state)

    def weights_changed(self) -> None:
        """Copy the parameters into the optimizer's float32 copies, which would overwrite them at the next step."""
        optimizer: Any = getattr(self.model.model, 'optimizer', None)
        if hasattr(optimizer, 'refresh_fp32_params'):
            optimizer.refresh_fp32_params()


def _offload_options(offload: str | None) -> dict:
    if offload is None:
        return {}
    target = {'device': 'cpu', 'pin_memory': torch.cuda.is_available()}
    return {'offload_optimizer': target, **({'offload_param': target} if offload == 'all' else {})}
