"""The arithmetic of the effective batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lisa_mm.errors import ConfigError


def resolve_accumulation(*, accumulation: int | None, target_batch: int | None, micro_batch: int, world_size: int) -> int:
    """The number of micro-batches per process in one optimizer step.

    Args:
        accumulation: The number, given directly.
        target_batch: Instead: samples of one optimizer step over all processes.
        micro_batch: Samples per forward of one process.
        world_size: Number of processes.

    Raises:
        ConfigError: if both are given, or ``target_batch`` is not a multiple of all processes' samples in one micro-batch.

    Example:
        >>> resolve_accumulation(accumulation=None, target_batch=160, micro_batch=2, world_size=8)
        10
    """
    if accumulation is not None and target_batch is not None:
        raise ConfigError(f'strategy has both accumulation={accumulation} and target_batch={target_batch}: give one of them.')
    if target_batch is None:
        accumulation = 1 if accumulation is None else accumulation
        if accumulation < 1:
            raise ConfigError(f'strategy.accumulation is {accumulation}; it must be at least 1.')
        return accumulation
    together = micro_batch * world_size
    if target_batch < 1 or target_batch % together:
        below = target_batch // together * together
        valid = [value for value in (below, below + together, below + 2 * together) if value > 0]
        fitting = [size for size in range(1, target_batch // world_size + 1) if target_batch % (size * world_size) == 0]
        hint = f', or train_dataloader.batch_size to one of {fitting}' if fitting else ''
        raise ConfigError(
            f'strategy.target_batch is {target_batch}, no multiple of {together} = {micro_batch} a process x '
            f'{world_size} processes. '
            f'Set target_batch to one of {valid}{hint}.'
        )
    return target_batch // together


def planned_accumulation(config: Mapping[str, Any], *, processes: int, micro_batch: int) -> int:
    """:func:`resolve_accumulation` for a config's ``strategy``, before processes start."""
    return resolve_accumulation(
        accumulation=config.get('accumulation'),
        target_batch=config.get('target_batch'),
        micro_batch=micro_batch,
        world_size=processes,
    )


def describe_batch(*, accumulation: int, micro_batch: int, world_size: int) -> str:
    """One line for the log.

    Example:
        >>> describe_batch(accumulation=10, micro_batch=2, world_size=8)
        'effective batch 160 = 2 a process x 10 accumulated x 8 processes'
    """
    total = accumulation * micro_batch * world_size
    return f'effective batch {total} = {micro_batch} a process x {accumulation} accumulated x {world_size} processes'
