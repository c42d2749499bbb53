"""The common base of the strategies: optimizer wrapper, effective batch, and checkpoint folders."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine._strategy import BaseStrategy
from mmengine.dist import barrier, broadcast_object_list
from mmengine.model import BaseModule
from torch import nn

from lisa_mm.checkpoints import folder as folders
from lisa_mm.checkpoints.for_hooks import Weights, ask_hooks
from lisa_mm.checkpoints.ledger import write_ledger
from lisa_mm.checkpoints.opening import ExportedModel, open_checkpoint
from lisa_mm.engine.optimizer import joined_groups, optim_wrapper_faults, without_parameter_lines
from lisa_mm.engine.schedules import with_todays_shape
from lisa_mm.engine.versions import library_versions
from lisa_mm.errors import CheckpointError, ConfigError, NonFiniteLossError, nearest
from lisa_mm.models.reading import Reading, reading_weights
from lisa_mm.registry import STRATEGIES

from .batch import describe_batch, resolve_accumulation
from .memory_plan import MemoryPlan, MemoryUnknownError
from .optimizer_tensors import ShardedTensors, WholeTensors
from .resuming import HASH, check_resumable, describe_other_batch, read_common, restore_generators, restore_state, write_state


class FolderCheckpointMixin(BaseStrategy):
    """Mixed in before one of mmengine's strategies: one checkpoint format, one way to accumulate.

    The strategy class provides ``zero_stage``, ``wrapper_type`` and the methods that raise NotImplementedError here.
    """

    zero_stage: int | None
    # type of the optimizer wrapper; configs do not name it, so that swapping the strategy is one edit
    wrapper_type: str
    # an mmengine model or DeepSpeed's engine in a wrapper unknown to type checkers
    model: Any
    optim_wrapper: Any
    accumulation: int
    micro_batch: int
    gradient_clipping: float
    parameter_dtype: torch.dtype = torch.float32  # of the model's parameters in training
    _frozen: dict[str, dict] | None = None
    _trained_groups: list[list[nn.Parameter]] | None = None  # of each parameter group of the optimizer

    @property
    def module(self) -> nn.Module:
        """The model without any wrapper."""
        raise NotImplementedError

    @property
    def autocast(self) -> torch.dtype | None:
        """Number format of autocast in a training forward; None without."""
        return None

    def compute_losses(self, data: dict, *, last: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward of a micro-batch: the total loss, and values to log; ``last`` marks the last one of an optimizer step."""
        raise NotImplementedError

    def backward_and_step(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a micro-batch's gradient; after the last one, clip and step."""
        raise NotImplementedError

    def optimizer_tensors(self) -> WholeTensors | ShardedTensors:
        """The optimizer's state by the names of the model's parameters."""
        raise NotImplementedError

    def master_weights(self, value: torch.Tensor) -> torch.Tensor | None:
        """The optimizer's float32 copy of a half-precision parameter, whole; None if there is none."""
        return folders.master_weights(value)

    def loss_scale(self) -> dict[str, Any] | None:
        """State of the loss scaler in plain types; None if there is none."""
        return None

    def restore_loss_scale(self, state: dict[str, Any] | None) -> None:
        """Restore :meth:`loss_scale`; a state of another kind of scaler is left aside."""

    def weights_changed(self) -> None:
        """Called after the model's weights were loaded: update other copies of them."""
        raise NotImplementedError

    @classmethod
    def number_formats(cls, config: Mapping[str, Any]) -> tuple[torch.dtype, torch.dtype | None]:
        """Number format of the weights in training, and of autocast (None without), for ``tools/data.py cache``.

        Args:
            config: The config's ``strategy``.
        """
        del config
        return torch.float32, None

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Faults of the arguments that can be found before processes start."""
        faults = []
        accumulation, target = arguments.get('accumulation'), arguments.get('target_batch')
        if accumulation is not None and target is not None:
            faults.append(f'strategy has both accumulation={accumulation} and target_batch={target}: give one of them.')
        for key, value in (('accumulation', accumulation), ('target_batch', target)):
            if value is not None and value < 1:
                faults.append(f'strategy.{key} is {value}; it must be at least 1.')
        if arguments.get('gradient_clipping', 1.0) < 0:
            faults.append(
                f'strategy.gradient_clipping is {arguments["gradient_clipping"]}; give a norm > 0, or 0 for no clipping.'
            )
        return faults

    @classmethod
    def memory_plan(cls, config: Mapping[str, Any], *, processes: int, micro_batch: int, device: str) -> MemoryPlan:
        """The settings that determine the memory of a training step, for ``check_config --gpus``.

        Args:
            config: The config's ``strategy``.
            processes: Number of GPUs.
            micro_batch: Samples per forward.
            device: ``'cuda'``, or ``'cpu'`` to compare with a measurement.

        Raises:
            MemoryUnknownError: for a strategy without this method.
            ConfigError: for settings that contradict each other.
        """
        raise MemoryUnknownError(
            f'strategy.type is {cls.__name__}, whose memory is not known: it has no class method memory_plan, which says how '
            'it divides parameters, gradients and the state of the optimizer (lisa_mm.engine.strategies.MemoryPlan).'
        )

    @classmethod
    def memory_savings(cls, config: Mapping[str, Any], *, processes: int) -> Iterator[list[str]]:
        """Edits of the strategy that may save memory, the least intrusive first.

        Each is calculated before it is recommended, so a useless one does no harm. By default there are none.

        Args:
            config: The config's ``strategy``.
            processes: Number of GPUs.

        Yields:
            Options that belong together, as after ``--cfg-options``: ``['strategy.bf16=True']``.
        """
        yield from ()

    def set_up_batch(self, *, accumulation: int | None, target_batch: int | None, micro_batch: int) -> None:
        """Resolve the accumulation and log it."""
        self.micro_batch = micro_batch
        self.accumulation = resolve_accumulation(
            accumulation=accumulation, target_batch=target_batch, micro_batch=micro_batch, world_size=self.world_size
        )
        self.logger.info(describe_batch(accumulation=self.accumulation, micro_batch=micro_batch, world_size=self.world_size))

    def build_optim_wrapper(self, optim_wrapper: Any, model: Any = None) -> Any:
        """Build the optimizer over the trained parameters only, in this strategy's wrapper.

        Raises:
            ConfigError: for settings that belong to the strategy, or a model without trained parameters.
        """
        if isinstance(optim_wrapper, dict):
            faults = optim_wrapper_faults(optim_wrapper, self.wrapper_type, type(self).__name__)
            if faults:
                raise ConfigError(faults)
            optim_wrapper = {**optim_wrapper, 'type': self.wrapper_type}
            if optim_wrapper.get('paramwise_cfg'):
                # a head tied to its embeddings is found twice; without this, mmengine's constructor makes two groups of it
                optim_wrapper['paramwise_cfg'] = {'bypass_duplicate': True, **optim_wrapper['paramwise_cfg']}
        with without_parameter_lines():
            built = super().build_optim_wrapper(optim_wrapper, model)
        groups = built.optimizer.param_groups
        groups[:] = joined_groups(groups)
        if not groups:
            raise ConfigError(
                'nothing to train: every parameter of the model is frozen. Set model.lora, or tuning="full" of a part.'
            )
        self._trained_groups = [list(group['params']) for group in groups]
        return built

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model; its files are read tensor by tensor, in the dtype of training and onto its device."""
        on_gpu = torch.cuda.is_available()
        device = torch.device('cuda', torch.cuda.current_device()) if on_gpu else torch.device('cpu')
        with reading_weights(Reading(self.parameter_dtype, device)):
            return super().build_model(model)

    def group_names(self) -> list[list[str]]:
        """The names of the parameters in each of the optimizer's groups."""
        names = {id(parameter): name for name, parameter in self.trained_parameters().items()}
        return [[names[id(parameter)] for parameter in group] for group in self._trained_groups or []]

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The model's trained parameters by name, tied ones once."""
        return {name: parameter for name, parameter in self.module.named_parameters() if parameter.requires_grad}

    @property
    def samples_per_step(self) -> int:
        """Samples of one optimizer step over all processes."""
        return self.accumulation * self.micro_batch * self.world_size

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        # mmengine's default descends into children, where transformers' init_weights would reinitialise pretrained parts
        own = getattr(type(model), 'init_weights', None) is not BaseModule.init_weights
        if own or getattr(model, 'init_cfg', None):
            return super()._init_model_weights(model)
        return model

    def frozen(self) -> dict[str, dict]:
        """The hashes of the frozen parts, computed once per run."""
        if self._frozen is None:
            self._frozen = folders.describe_frozen(self.module)
        return self._frozen

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write a checkpoint folder; all processes must call it.

        Args:
            filename: The folder; it appears only when complete.
            save_optimizer: Include the state to resume from.
            save_param_scheduler: As in mmengine; the schedules are part of that state.
            extra_ckpt: ``meta`` (JSON), ``message_hub`` (plain types), ``config_text``, and on the first process ``ledger``.
            callback: Called before writing with ``extra_ckpt`` and the weights as ``state_dict``
                (:class:`lisa_mm.checkpoints.for_hooks.Weights`), in whose place it may put others. Keys that it adds on the
                first process come back when the checkpoint is resumed.

        Raises:
            NonFiniteLossError: if a weight is not finite, so that a broken checkpoint never follows a good one.
        """
        extra = {'meta': {}, 'message_hub': None, 'config_text': None, 'ledger': None, **(extra_ckpt or {})}
        weights = folders.model_weights(self.module, self.master_weights)
        added = ask_hooks(extra, weights, callback)
        replaced = [list(weights.replaced)]
        broadcast_object_list(replaced)  # a hook may work on the first process alone
        final = Path(filename)
        temporary = final.with_name(f'.tmp_{final.name}')
        main = self.rank == 0
        if main:
            shutil.rmtree(temporary, ignore_errors=True)
            (temporary / folders.STATE if save_optimizer else temporary).mkdir(parents=True)
        barrier()
        frozen = self.frozen()
        meta = {**extra['meta'], **self._meta(), 'resumable': save_optimizer}
        meta['weights_sha256'] = folders.write_weights(temporary, weights, keep=main, replaced=replaced[0])
        self._refuse_broken_weights(weights.broken, temporary, final)
        if save_optimizer:
            meta[HASH] = write_state(
                self, temporary / folders.STATE, message_hub=extra['message_hub'], hooks=added, schedules=save_param_scheduler
            )
        barrier()
        if main:
            if extra['config_text'] is not None:
                (temporary / folders.CONFIG).write_text(extra['config_text'], encoding='utf-8')
                meta['config_sha256'] = hashlib.sha256(extra['config_text'].encode()).hexdigest()
            if extra['ledger'] is not None:
                write_ledger(extra['ledger'], temporary)
            folders.write_json(temporary / folders.FROZEN, frozen)
            folders.write_json(temporary / folders.META, meta)
            folders.publish(temporary, final)
        barrier()

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: str | Callable[..., Any] = 'cpu',
        strict: bool = True,
        revise_keys: list | None = None,
        callback: Callable | None = None,
    ) -> dict:
        """Load a checkpoint's weights, not its state; nothing may be missing or left over.

        An exported folder also gives the frozen parts; parts that it lacks stay as they were built, and adapters start
        at zero: the first loss is the checkpoint's.

        Args:
            filename: A checkpoint folder, a work folder (its best validated checkpoint is taken), or an exported folder.
            map_location, strict, revise_keys: mmengine's arguments; no effect.
            callback: Called with the result; for a checkpoint of training before its weights go into the model, with them as
                ``state_dict``, which it may change in place.

        Returns:
            ``{'meta': ...}``
        """
        opened = open_checkpoint(filename, prefer='best')
        checkpoint: dict[str, Any] = {'meta': opened.meta}
        self.logger.info(f'load the weights of {opened.folder}')

        def change(weights: Weights) -> None:
            if callback is not None:
                callback({**checkpoint, 'state_dict': weights})

        if isinstance(opened, ExportedModel):
            fresh = opened.load_into(self.module, whole=False)
            if fresh:
                self.logger.warning(f'{opened.folder} does not hold {", ".join(fresh)}: built as the config says')
            self._frozen = None  # the frozen parts are others now
            if callback is not None:
                callback(checkpoint)
        else:
            opened.load_into(self.module, frozen=self.frozen(), change=change)
        self.weights_changed()
        return checkpoint

    def resume(
        self,
        filename: str,
        *,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = 'default',
        callback: Callable | None = None,
    ) -> dict:
        """Continue from a checkpoint: weights, optimizer, schedules and random generators.

        Any number of processes, ZeRO stage and strategy of this package may have written it.

        Args:
            filename: A checkpoint folder or a work folder (its last checkpoint is taken).
            resume_optimizer: Restore the optimizer's state.
            resume_param_scheduler: Restore the schedules' state.
            map_location: mmengine's argument; no effect.
            callback: Called before the weights go into the model, with the result and the weights as ``state_dict``, which it
                may change in place.

        Returns:
            ``{'meta': ..., 'message_hub': ...}`` and the keys that hooks added in saving.

        Raises:
            CheckpointError: if it was written without state, by another optimizer, or with other trained parameters.
        """
        opened = open_checkpoint(filename)
        if isinstance(opened, ExportedModel):
            raise CheckpointError(f'{opened.folder} holds weights only, no state to resume from. Use load_from.')
        folder, meta = opened.folder, opened.meta
        if not meta.get('resumable', False):
            raise CheckpointError(
                f'{folder} holds no state to resume from (it was kept for its score). '
                f'To train on from its weights with a new optimizer state, give load_from={folder} instead of resume.'
            )
        common = read_common(folder)
        if resume_optimizer:
            check_resumable(self, folder, common, meta)
        self.logger.info(f'resume from {folder}')
        checkpoint = {'meta': meta, 'message_hub': common['message_hub'], **common['hooks']}

        def change(weights: Weights) -> None:
            if callback is not None:
                callback({**checkpoint, 'state_dict': weights})

        batch = describe_other_batch(self, meta)
        if batch is not None:
            self.logger.warning(batch)
        weights = opened.load_into(self.module, frozen=self.frozen(), change=change)
        self.weights_changed()
        if resume_optimizer:
            restore_state(self, folder, common, meta, weights)
        # after the optimizer, whose groups restore the old learning rate
        if resume_param_scheduler and hasattr(self, 'param_schedulers') and common['param_schedulers'] is not None:
            self.load_scheduler_state_dict(with_todays_shape(self.param_schedulers, common['param_schedulers']))
        restore_generators(self, folder, meta)
        barrier()
        return checkpoint

    def _refuse_broken_weights(self, names: list[str], temporary: Path, final: Path) -> None:
        broken = [names]
        broadcast_object_list(broken)
        if broken[0]:
            if self.rank == 0:
                shutil.rmtree(temporary)
            raise NonFiniteLossError(
                f'{final.name} is not saved: {len(broken[0])} trained tensors are not finite, first {broken[0][0]}. '
                'Lower the learning rate or the clipping, and resume from the last checkpoint.'
            )

    def _meta(self) -> dict[str, Any]:
        return {
            'world_size': self.world_size,
            'zero_stage': self.zero_stage,
            'micro_batch': self.micro_batch,
            'accumulation': self.accumulation,
            'seed': self.seed,
            'versions': library_versions(),
            'time': time.strftime('%Y-%m-%d %H:%M:%S'),
        }


def strategy_class(name: object) -> type[FolderCheckpointMixin]:
    """The strategy class named by a config.

    Args:
        name: ``strategy.type``: a registered name, or a class.

    Raises:
        ConfigError: if there is none, or it is not a :class:`FolderCheckpointMixin`.
    """
    cls = STRATEGIES.get(name) if isinstance(name, str) else name
    if isinstance(cls, type) and issubclass(cls, FolderCheckpointMixin):
        return cls
    known = [registered for registered, cls in STRATEGIES.module_dict.items() if issubclass(cls, FolderCheckpointMixin)]
    raise ConfigError(
        f'strategy.type is {name!r}, which does not accumulate and save as this runner needs.{nearest(str(name), known)}'
    )
