"""Hooks of mmengine that go through tests and resumed runs; the arguments and their meaning are mmengine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.hooks import ProfilerHook as MMEngineProfilerHook

from lisa_mm.errors import ConfigError
from lisa_mm.registry import HOOKS

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH

    from lisa_mm.engine.runner import LisaRunner


@HOOKS.register_module()
class EarlyStoppingHook(MMEngineEarlyStoppingHook):
    """mmengine's hook; a resumed run knows its best score and count, and a test is not its business.

    A metric that validation does not give is an error (mmengine only warns); ``gIoU`` finds ``seg/gIoU``.
    """

    def before_run(self, runner: LisaRunner) -> None:
        """mmengine's asks for a train loop, which a test has not."""

    def after_val_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Decide whether to stop the training."""
        if not runner.is_training:
            return
        metrics = metrics or {}
        found = [value for name, value in metrics.items() if self.monitor in (name, name.rpartition('/')[2])]
        if len(found) != 1:
            raise ConfigError(f'EarlyStoppingHook.monitor is {self.monitor!r}; validation gave {sorted(metrics)}. Choose one.')
        super().after_val_epoch(runner, {self.monitor: found[0]})

    def before_save_checkpoint(self, runner: LisaRunner, checkpoint: dict) -> None:
        """Keep best score and count."""
        checkpoint['early_stopping'] = {'best_score': float(self.best_score), 'wait_count': self.wait_count}

    def after_load_checkpoint(self, runner: LisaRunner, checkpoint: dict) -> None:
        """Take best score and count of a run that is resumed."""
        state: dict[str, Any] = checkpoint.get('early_stopping', {})
        self.best_score = state.get('best_score', self.best_score)
        self.wait_count = state.get('wait_count', self.wait_count)


@HOOKS.register_module()
class ProfilerHook(MMEngineProfilerHook):
    """mmengine's hook; tests and steps after ``profile_times`` are not profiled, in a resumed run either."""

    def before_run(self, runner: LisaRunner) -> None:
        """Start the profiler where there are steps to profile."""
        if not runner.is_training or runner.iter >= self.profile_times:
            self._closed = True
            return
        self.profile_times = min(self.profile_times, runner.max_iters)
        super().before_run(runner)

    def after_train_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Note a step, and end after the last one."""
        if not self._closed:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
