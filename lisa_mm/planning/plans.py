"""What the strategy of a config says of its memory: each strategy class knows its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.strategies.base import strategy_class
from ..engine.strategies.memory_plan import MemoryPlan


def plan_of(strategy: Mapping[str, Any] | None, *, processes: int, micro_batch: int, device: str = 'cuda') -> MemoryPlan:
    """How a config's strategy divides parameters, gradients and the optimizer's state.

    Args:
        strategy: The config's ``strategy``; None is what the runner takes then.
        processes: GPUs.
        micro_batch: Samples of one forward.
        device: ``'cuda'``, or ``'cpu'`` to compare with a measurement.

    Raises:
        MemoryUnknownError: for a strategy that does not say its memory.
        ConfigError: for an unknown strategy, or one that does not go with so many processes.
    """
    strategy = strategy or {'type': 'LisaSingleDeviceStrategy' if processes == 1 else 'LisaDeepSpeedStrategy'}
    cls = strategy_class(strategy.get('type'))
    return cls.memory_plan(strategy, processes=processes, micro_batch=micro_batch, device=device)


def savings_of(strategy: Mapping[str, Any] | None, *, processes: int) -> Iterator[list[str]]:
    """Edits of a config's strategy that may save memory: each a list of options as after ``--cfg-options``.

    Args:
        strategy: The config's ``strategy``; None has none to edit.
        processes: GPUs.

    Raises:
        ConfigError: for an unknown strategy.
    """
    if strategy:
        yield from strategy_class(strategy.get('type')).memory_savings(strategy, processes=processes)
