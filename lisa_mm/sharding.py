"""Parameters that ZeRO-3 may have sharded: DeepSpeed's marks on them are read only here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def is_sharded_parameter(tensor: Tensor) -> bool:
    """Whether ZeRO-3 has sharded a tensor."""
    return hasattr(tensor, 'ds_id')


def is_sharded(module: nn.Module) -> bool:
    """Whether ZeRO-3 has sharded a module: then each use gathers parameters, and all processes must run the same modules."""
    return any(is_sharded_parameter(parameter) for parameter in module.parameters())


def full_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of the whole, unsharded tensor."""
    return tuple(getattr(tensor, 'ds_shape', tensor.shape))


def full_numel(tensor: Tensor) -> int:
    """The number of elements of the whole, unsharded tensor."""
    return int(getattr(tensor, 'ds_numel', tensor.numel()))


def has_sharded_optimizer(tensor: Tensor) -> bool:
    """Whether ZeRO-3's optimizer holds a copy of a tensor."""
    return hasattr(tensor, '_z3_optimizer')


@contextmanager
def gathered(tensor: Tensor, *, modify: bool = False) -> Iterator[Tensor]:
    """Gather a tensor that ZeRO-3 may have sharded; all processes must enter.

    Args:
        tensor: A parameter or buffer.
        modify: Write back the changes of rank 0.
    """
    if not is_sharded_parameter(tensor):
        yield tensor.data
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor], modifier_rank=0 if modify else None):
        yield tensor.data
