"""The memory plan of a config's strategy, which each strategy class declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.strategies.base import strategy_class
from ..engine.strategies.memory_plan import MemoryPlan


def plan_of(strategy: Mapping[str, Any] | None, *, processes: int, micro_batch: int, device: str = 'cuda') -> MemoryPlan:
    """How a config's strategy shards parameters, gradients and optimizer state.

    Args:
        strategy: The config's ``strategy``; None means the runner's default.
        processes: Number of GPUs.
        micro_batch: Samples per forward.
        device: ``'cuda'``, or ``'cpu'`` to compare with a measurement.

    Raises:
        MemoryUnknownError: for a strategy without a memory plan.
        ConfigError: for an unknown strategy, or one that cannot run on this many processes.
    """
    strategy = strategy or {'type': 'LisaSingleDeviceStrategy' if processes == 1 else 'LisaDeepSpeedStrategy'}
    cls = strategy_class(strategy.get('type'))
    return cls.memory_plan(strategy, processes=processes, micro_batch=micro_batch, device=device)


def savings_of(strategy: Mapping[str, Any] | None, *, processes: int) -> Iterator[list[str]]:
    """Edits of a config's strategy that may save memory, each a list of options as after ``--cfg-options``.

    Args:
        strategy: The config's ``strategy``; None leaves nothing to edit.
        processes: Number of GPUs.

    Raises:
        ConfigError: for an unknown strategy.
    """
    if strategy:
        yield from strategy_class(strategy.get('type')).memory_savings(strategy, processes=processes)
