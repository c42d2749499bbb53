"""Training curves: losses, learning rate, validation."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.hooks import Hook

from lisa_mm.errors import ConfigError
from lisa_mm.registry import HOOKS
from lisa_mm.visualization import save_figure

from .progress_hook import learning_rate

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH
    from torch.utils.tensorboard import SummaryWriter

    from lisa_mm.engine.runner import LisaRunner


METRICS = ('gIoU', 'cIoU')
NUMBERS, PICTURE, EVENTS = 'curves.json', 'curves.png', 'tensorboard'


@HOOKS.register_module()
class CurvesHook(Hook):
    """Keeps the curves in the work folder: ``curves.json`` (every number), ``curves.png`` and ``tensorboard/``.

    A resumed run continues the numbers up to its checkpoint; numbers of later steps, which run again, are dropped.

    Args:
        interval: Optimizer steps between writes; validation, checkpoints and the end of training also write.
    """

    def __init__(self, interval: int = 50):
        if interval < 1:
            raise ConfigError(f'CurvesHook has interval={interval}: it must be at least 1.')
        self.interval = interval
        self.train: list[dict[str, Any]] = []
        self.val: list[dict[str, Any]] = []
        self._writer: SummaryWriter | None = None

    def before_train(self, runner: LisaRunner) -> None:
        """Read the curves of a run that is resumed."""
        if runner.rank != 0:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        work_dir = Path(runner.work_dir)
        self.train, self.val = _read(work_dir / NUMBERS, runner.iter) if runner.iter else ([], [])
        # TensorBoard drops an earlier run's values from this step on
        self._writer = SummaryWriter(str(work_dir / EVENTS), purge_step=runner.iter + 1)

    def after_train_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Record the losses and the learning rate."""
        if runner.rank != 0:
            return
        iteration = batch_idx + 1
        losses = {name: float(value) for name, value in (outputs or {}).items()}
        point = {**losses, 'lr': learning_rate(runner)}
        self.train.append({'iter': iteration, **_finite(point)})
        self._add_events('train', point, iteration)
        if iteration % self.interval == 0:
            self._write(runner)

    def after_val_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Take gIoU and cIoU."""
        if runner.rank != 0 or not runner.is_training:
            return
        point = {name.rpartition('/')[2]: float(value) for name, value in (metrics or {}).items()}
        point = {name: point[name] for name in METRICS if name in point}
        if not point:
            return
        # a resumed run validates its checkpoint again
        self.val = [old for old in self.val if old['iter'] != runner.iter]
        self.val.append({'iter': runner.iter, **_finite(point)})
        self._add_events('val', point, runner.iter)
        self._write(runner)

    def before_save_checkpoint(self, runner: LisaRunner, checkpoint: dict) -> None:
        """A checkpoint must never be ahead of the numbers, or a resumed run had a gap."""
        if runner.rank == 0 and runner.is_training:
            _write_json(Path(runner.work_dir) / NUMBERS, {'train': self.train, 'val': self.val})

    def after_train(self, runner: LisaRunner) -> None:
        """Write the last state and tell where it is."""
        if runner.rank != 0:
            return
        self._write(runner)
        if self._writer is not None:
            self._writer.close()
        runner.logger.info(f'curves: {Path(runner.work_dir) / PICTURE} (also {NUMBERS}, and {EVENTS}/ for TensorBoard)')

    def _add_events(self, group: str, point: dict[str, float], iteration: int) -> None:
        assert self._writer is not None
        for name, value in point.items():
            self._writer.add_scalar(f'{group}/{name}', value, iteration)

    def _write(self, runner: LisaRunner) -> None:
        work_dir = Path(runner.work_dir)
        _write_json(work_dir / NUMBERS, {'train': self.train, 'val': self.val})
        if self._writer is not None:
            self._writer.flush()
        draw_curves(self.train, self.val, work_dir / PICTURE)


def draw_curves(train: list[dict[str, Any]], val: list[dict[str, Any]], path: str | Path) -> Path:
    """Draw losses, learning rate and metrics over the iterations.

    Args:
        train: One dict per step with ``iter``, ``lr`` and the losses.
        val: One dict per validation with ``iter`` and the metrics.
        path: The PNG file.

    Returns:
        The path.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout='constrained')
    losses, rates, metrics = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 2))
    typical: list[float] = []
    for name in _names(train, without='lr'):
        iterations, values = _series(train, name)
        (raw,) = losses.plot(iterations, values, alpha=0.25, linewidth=0.8)
        losses.plot(iterations, smooth(values), color=raw.get_color(), label=name)
        typical += np.quantile(values[values > 0], [0.02, 1.0]).tolist() if (values > 0).any() else []
    if typical:
        # the losses differ by orders of magnitude; exact zeros are left out, and single lows do not stretch the axis
        losses.set_yscale('log', nonpositive='mask')
        losses.set_ylim(min(typical) / 1.5, max(typical) * 1.5)
    rates.plot(*_series(train, 'lr'), color='tab:gray')
    for name in _names(val):
        metrics.plot(*_series(val, name), marker='o', markersize=4, label=name)
    for axes, label in ((losses, 'loss (smoothed)'), (rates, 'learning rate'), (metrics, 'validation')):
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    metrics.set_ylim(0, 1)
    metrics.set_xlabel('iteration')
    return save_figure(figure, path)


def smooth(values: np.ndarray) -> np.ndarray:
    """An exponential mean whose span grows with the number of steps, without bias towards the first value.

    Args:
        values: (n,).

    Returns:
        (n,).
    """
    keep = 1 - 2 / (max(5, len(values) // 25) + 1)
    smoothed, total, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed[index] = total / weight
    return smoothed


def _names(points: list[dict[str, Any]], without: str = '') -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point if name not in ('iter', without)))


def _series(points: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(point['iter'], point[name]) for point in points if point.get(name) is not None]
    return np.array([i for i, _ in found], dtype=int), np.array([value for _, value in found], dtype=float)


def _finite(point: dict[str, float]) -> dict[str, float | None]:
    # JSON has no nan
    return {name: value if math.isfinite(value) else None for name, value in point.items()}


def _read(path: Path, iteration: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The points up to an iteration; none if the checkpoint comes from another folder."""
    if not path.is_file():
        return [], []
    found = json.loads(path.read_text(encoding='utf-8'))
    train, val = ([point for point in found[group] if point['iter'] <= iteration] for group in ('train', 'val'))
    return train, val


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_name(f'.tmp_{path.name}')
    temporary.write_text(json.dumps(value), encoding='utf-8')
    os.replace(temporary, path)
