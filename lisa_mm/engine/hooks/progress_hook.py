"""Log lines and a live line during training."""

from __future__ import annotations

import sys
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from mmengine.hooks import LoggerHook

from lisa_mm.registry import HOOKS

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH

    from lisa_mm.engine.runner import LisaRunner


_WINDOW = 100  # steps that the estimate of the time left uses


@HOOKS.register_module()
class ProgressHook(LoggerHook):
    """Writes a log line every ``interval`` optimizer steps and, on a terminal, a line that is updated in place.

    Scalars, including validation, go to the visualizer (curve files) as with mmengine's LoggerHook.

    Args:
        interval: Optimizer steps between lines.
        live: Seconds between updates of the terminal line; 0 for none.
    """

    def __init__(self, interval: int = 10, *, live: float = 0.5):
        super().__init__(interval=interval, log_metric_by_epoch=False)
        self.live = live
        self._last_drawn = 0.0
        self._begun = 0.0
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)
        self._sums: dict[str, float] = {}
        self._count = 0
        self._clock = 0.0

    def before_train(self, runner: LisaRunner) -> None:
        """Start the clock."""
        self._begun = self._clock = time.monotonic()
        self._ends.clear()

    def after_train_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Collect the losses, and log them when it is time."""
        iteration = batch_idx + 1
        self._ends.append(time.monotonic())
        for name, value in (outputs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1
        if iteration % self.interval == 0 or iteration == runner.max_iters:
            self._report(runner, iteration)
        elif self.live and runner.rank == 0 and sys.stderr.isatty() and time.monotonic() - self._last_drawn >= self.live:
            self._last_drawn = time.monotonic()
            sys.stderr.write('\r\033[K' + self._line(runner, iteration))
            sys.stderr.flush()

    def _report(self, runner: LisaRunner, iteration: int) -> None:
        if self.live and runner.rank == 0 and sys.stderr.isatty():
            sys.stderr.write('\r\033[K')
        runner.logger.info(self._line(runner, iteration))
        means = {name: value / self._count for name, value in self._sums.items()}
        scalars = {**means, 'lr': learning_rate(runner), 'time': self._seconds_per_iteration()}
        runner.visualizer.add_scalars(scalars, step=iteration, file_path=self.json_log_path)
        self._sums, self._count, self._clock = {}, 0, time.monotonic()

    def _seconds_per_iteration(self) -> float:
        return (time.monotonic() - self._clock) / max(1, self._count)

    def _line(self, runner: LisaRunner, iteration: int) -> str:
        # from the end of the first step on: it starts workers and fills caches, its time says nothing about the others
        recent = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) if len(self._ends) > 1 else self._ends[0] - self._begun
        remaining = recent * (runner.max_iters - iteration)
        losses = '  '.join(f'{name} {value / self._count:.4f}' for name, value in self._sums.items())
        width = len(str(runner.max_iters))
        return (
            f'iter {iteration:>{width}}/{runner.max_iters}  {losses}  lr {learning_rate(runner):.3e}  '
            f'{self._seconds_per_iteration():.3f} s/iter  eta {timedelta(seconds=round(remaining))}'
        )


def learning_rate(runner: LisaRunner) -> float:
    """Of the first group of parameters."""
    assert runner.optim_wrapper is not None
    return float(runner.optim_wrapper.get_lr()['lr'][0])  # pyright: ignore[reportAttributeAccessIssue] - built by now
