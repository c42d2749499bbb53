"""Parameters that ZeRO-3 may have in pieces: the marks that DeepSpeed leaves on them are read here alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def is_sharded_parameter(tensor: Tensor) -> bool:
    """Whether ZeRO-3 has it in pieces."""
    return hasattr(tensor, 'ds_id')


def is_sharded(module: nn.Module) -> bool:
    """Whether ZeRO-3 has its parameters in pieces: then each use gathers them, and all processes must run the same modules."""
    return any(is_sharded_parameter(parameter) for parameter in module.parameters())


def full_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of the whole tensor."""
    return tuple(getattr(tensor, 'ds_shape', tensor.shape))


def full_numel(tensor: Tensor) -> int:
    """The number of elements of the whole tensor."""
    return int(getattr(tensor, 'ds_numel', tensor.numel()))


def has_sharded_optimizer(tensor: Tensor) -> bool:
    """Whether ZeRO-3's optimizer holds a copy of it."""
    return hasattr(tensor, '_z3_optimizer')


@contextmanager
def gathered(tensor: Tensor, *, modify: bool = False) -> Iterator[Tensor]:
    """The whole of a tensor that ZeRO-3 may have sharded; all processes must enter.

    Args:
        tensor: A parameter or buffer.
        modify: Write back what rank 0 changes.
    """
    if not is_sharded_parameter(tensor):
        yield tensor.data
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor], modifier_rank=0 if modify else None):
        yield tensor.data
