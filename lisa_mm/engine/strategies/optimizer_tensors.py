"""The tensors of a running optimizer by the names of the model's parameters, as checkpoints hold them.

torch's optimizers keep a state for each parameter (:class:`WholeTensors`). ZeRO joins the parameters of a group into one
flat float32 tensor, gives each process a part of it, and steps that (:class:`ShardedTensors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lisa_mm.checkpoints.optimizer_state import SavedOptimizer
from lisa_mm.checkpoints.sources import TensorInfo
from lisa_mm.errors import CheckpointError
from lisa_mm.sharding import full_shape

# They update every weight from its own gradient and state alone, so it does not matter how weights are joined and divided.
# Others look at whole tensors (Adafactor, Muon, LAMB) or keep compressed blocks (8 bits).
ELEMENTWISE = frozenset(
    f'torch.optim.{name.lower()}.{name}'
    for name in ('Adam', 'AdamW', 'SGD', 'RMSprop', 'Adagrad', 'NAdam', 'RAdam', 'Adadelta', 'Adamax', 'ASGD', 'Rprop')
) | {'deepspeed.ops.adam.fused_adam.FusedAdam', 'deepspeed.ops.adam.cpu_adam.DeepSpeedCPUAdam'}
# how a step is computed, not what: they follow the machine, so each run keeps its own
_IMPLEMENTATION = ('foreach', 'fused', 'capturable', 'differentiable')
_CHANGING = ('lr', 'step')  # they change during a training


def optimizer_type(optimizer: Optimizer) -> str:
    """The class that a checkpoint records."""
    cls = type(optimizer)
    return f'{cls.__module__}.{cls.__qualname__}'


def group_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of the parameter groups, in plain types."""
    return [{key: value for key, value in group.items() if key != 'params'} for group in optimizer.param_groups]


def restore_settings(optimizer: Optimizer, saved: list[dict[str, Any]]) -> list[str]:
    """Give the groups the settings of a checkpoint.

    Returns:
        Settings of this run that the checkpoint's replace: ``'weight_decay 0.1 -> 0.0'``.
    """
    changed = []
    for group, before in zip(optimizer.param_groups, saved, strict=True):
        for key, value in before.items():
            if key in (*_IMPLEMENTATION, 'names'):
                continue
            if key in group and key not in _CHANGING and group[key] != value:
                changed.append(f'{key} {group[key]} -> {value}')
            group[key] = value
    return list(dict.fromkeys(changed))


class WholeTensors:
    """A state per parameter: torch's optimizers, and DeepSpeed's stage 0.

    Args:
        optimizer: torch's.
        parameters: The model's trained parameters by name.
        held: What the optimizer steps for each name: the parameter, or its float32 copy.
    """

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], held: Mapping[str, Tensor]):
        self.optimizer, self.parameters, self.held = optimizer, parameters, held

    def info(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor."""
        return {
            f'{key}/{name}': TensorInfo(tuple(tensor.shape), tensor.dtype)
            for name, holder in self.held.items()
            for key, value in self.optimizer.state.get(holder, {}).items()
            if (tensor := _tensor(value)) is not None
        }

    def read(self, entry: str) -> Tensor:
        """One tensor, on the CPU."""
        key, _, name = entry.partition('/')
        tensor = _tensor(self.optimizer.state[self.held[name]][key])
        assert tensor is not None, entry
        return tensor.cpu()

    def own_part(self) -> dict[str, Any]:
        """Values that are neither tensors nor whole numbers, by name."""
        parts = {
            name: {key: value for key, value in self.optimizer.state.get(holder, {}).items() if _tensor(value) is None}
            for name, holder in self.held.items()
        }
        return {name: part for name, part in parts.items() if part}

    def restore(self, saved: SavedOptimizer) -> None:
        """Replace the state by a saved one."""
        self.optimizer.state.clear()
        groups = {id(holder): group for group in self.optimizer.param_groups for holder in group['params']}
        for name, holder in self.held.items():
            state: dict[str, Any] = {key: value.to(holder.device, copy=True) for key, value in saved.read(name, numbers=False)}
            for key, value in saved.read(name, numbers=True):
                state[key] = _number(value, groups[id(holder)], holder)
            if state:
                self.optimizer.state[holder] = state

    def restore_own_part(self, part: dict[str, Any]) -> None:
        """Restore :meth:`own_part`."""
        for name, values in part.items():
            self.optimizer.state[self.held[name]].update(values)

    def restore_masters(self, weights: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the float32 copies of half-precision parameters, where there are any."""
        copies = {id(parameter): self.held[name] for name, parameter in self.parameters.items()}
        for parameter, value in weights:
            copy = copies[id(parameter)]
            if copy is not parameter:
                copy.data.copy_(value)


class ShardedTensors:
    """ZeRO 1 to 3. DeepSpeed's functions gather and distribute; what they get wrong is worked round here.

    Args:
        zero: DeepSpeed's optimizer.
        parameters: The model's trained parameters by name.
    """

    def __init__(self, zero: Any, parameters: Mapping[str, nn.Parameter]):
        self.zero, self.parameters = zero, parameters
        self.optimizer: Optimizer = zero.optimizer
        self.third_stage = hasattr(zero, 'fp32_partitioned_groups_flat')
        groups = zero.fp16_groups if self.third_stage else zero.bit16_groups
        self.flats: list[Tensor] = zero.fp32_partitioned_groups_flat if self.third_stage else zero.single_partition_of_fp32_groups
        self.flat_of = {id(one): flat for group, flat in zip(groups, self.flats, strict=True) for one in group}
        self.group_of = list(zero.sub_group_to_group_id.values()) if self.third_stage else list(range(len(self.flats)))
        self._link()

    def info(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, whole."""
        found = {}
        for name, parameter in self.parameters.items():
            flat = self.flat_of[id(parameter)]
            for key, value in self.optimizer.state.get(flat, {}).items():
                if _is_per_weight(value, flat):
                    found[f'{key}/{name}'] = TensorInfo(full_shape(parameter), torch.float32)
                elif (number := _tensor(value)) is not None and number.dim() == 0:
                    found[f'{key}/{name}'] = TensorInfo((), number.dtype)
        return found

    def read(self, entry: str) -> Tensor:
        """One tensor, gathered, on the CPU."""
        from deepspeed.utils import safe_get_full_optimizer_state

        key, _, name = entry.partition('/')
        parameter = self.parameters[name]
        flat = self.flat_of[id(parameter)]
        value = self.optimizer.state[flat][key]
        whole = safe_get_full_optimizer_state(parameter, key) if _is_per_weight(value, flat) else _tensor(value)
        assert whole is not None, entry
        return whole.cpu()

    def own_part(self) -> list[dict[str, Any]]:
        """What belongs to this process's part and to no single weight."""
        gathered = {key for entry in self.info() for key in [entry.partition('/')[0]]}
        return [
            {key: value for key, value in self.optimizer.state.get(flat, {}).items() if key not in gathered}
            for flat in self.flats
        ]

    def restore(self, saved: SavedOptimizer) -> None:
        """Replace the state by a saved one.

        Raises:
            CheckpointError: if weights that ZeRO joins have made different numbers of steps.
        """
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        self._begin(saved)
        for name, parameter in self.parameters.items():
            for key, value in saved.read(name, numbers=False):
                if self.third_stage:
                    safe_set_local_optimizer_state(parameter, self._own_piece(parameter, value), key)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)

    def restore_own_part(self, part: list[dict[str, Any]]) -> None:
        """Restore :meth:`own_part`."""
        for flat, values in zip(self.flats, part, strict=True):
            self.optimizer.state[flat].update(values)

    def restore_masters(self, weights: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the float32 copies of half-precision parameters."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

        for parameter, value in weights:
            if self.third_stage:
                safe_set_local_fp32_param(parameter, self._own_piece(parameter, value))
            else:
                safe_set_full_fp32_param(parameter, value)

    def _begin(self, saved: SavedOptimizer) -> None:
        """Create zero states, which ZeRO has only after its first step."""
        self.optimizer.state.clear()
        if not saved.keys:
            return
        for number, flat in zip(self.group_of, self.flats, strict=True):
            group = self.optimizer.param_groups[number]
            names = [name for name, one in self.parameters.items() if self.flat_of[id(one)] is flat]
            state: dict[str, Any] = {key: torch.zeros_like(flat, requires_grad=False) for key in saved.per_weight}
            for key, value in _common_numbers(saved, names).items():
                state[key] = _number(value, group, flat)
            self.optimizer.state[flat] = state
        self._link()

    def _link(self) -> None:
        """Let DeepSpeed's functions find the state: at stages 1 and 2 they see what there was when the first group made its
        first step, so they miss the state of every other group."""
        if self.third_stage:
            return
        for parameter in self.parameters.values():
            mapping: Any = parameter._hp_mapping  # type: ignore - ZeRO's; None where another process holds all of it
            if mapping is not None:
                flat = self.flat_of[id(parameter)]
                mapping.set_optim_state_fragment(flat, self.optimizer.state.get(flat, {}))

    def _own_piece(self, parameter: Any, value: Tensor) -> Tensor:
        """This process's piece; DeepSpeed's own division of a whole value fails where it has to be padded."""
        size = parameter.ds_tensor.numel()
        start = self.zero._get_param_partition_rank(parameter) * size
        piece = value.flatten()[start : start + size]
        return torch.nn.functional.pad(piece, (0, size - piece.numel()))


def _is_per_weight(value: object, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape


def _tensor(value: object) -> Tensor | None:
    """A tensor of the state, or a whole number as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.int64) if type(value) is int else None


def _number(value: Tensor, group: Mapping[str, Any], holder: Tensor) -> Tensor | int:
    """A saved number as the optimizer keeps it: torch's counts are floats, on the CPU unless it steps on the GPU alone."""
    if value.dtype == torch.int64:
        return int(value)
    on_device = group.get('capturable') or group.get('fused')
    return value.to(holder.device if on_device else 'cpu', copy=True)


def _common_numbers(saved: SavedOptimizer, names: list[str]) -> dict[str, Tensor]:
    """The numbers that all named parameters have in common; those that never had a gradient have none."""
    common: dict[str, tuple[str, Tensor]] = {}
    for name in names:
        for key, value in saved.read(name, numbers=True):
            first, expected = common.setdefault(key, (name, value))
            if not torch.equal(value, expected):
                raise CheckpointError(
                    f"the optimizer's {key} of {first} is {expected.item():g} and that of {name} is {value.item():g}: some steps "
                    'had no gradient for one of them, and ZeRO counts for both together. Resume with LisaSingleDeviceStrategy '
                    'or LisaDDPStrategy, which count for each parameter.'
                )
    return {key: value for key, (_, value) in common.items()}
