"""Decides when checkpoints are written and which ones are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import barrier
from mmengine.hooks import Hook

from lisa_mm.checkpoints import folder as folders
from lisa_mm.engine.trained_on import describe_ledger
from lisa_mm.errors import ConfigError
from lisa_mm.registry import HOOKS

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH

    from lisa_mm.engine.runner import LisaRunner


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Saves every ``interval`` optimizer steps and at the end, and also keeps the best validated weights.

    An older checkpoint is removed only once the newer one is complete and named by ``last_checkpoint``. The best score is read
    from the best checkpoint itself, so a resumed run knows it. A new run moves the checkpoints it finds into
    ``earlier_<number>``.

    Args:
        interval: Optimizer steps between checkpoints; 0 saves only at the end.
        max_keep: Number of ``iter_N`` folders to keep; -1 for all.
        save_best: The metric whose highest value is kept as ``best_<metric>_iter_N`` (weights only), or None.
        save_last: Also save at the end of training, even off the interval or when a hook stopped it.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 500, *, max_keep: int = 2, save_best: str | None = 'gIoU', save_last: bool = True):
        if interval < 0 or max_keep == 0 or max_keep < -1:
            raise ConfigError(
                f'SafeCheckpointHook has interval={interval}, max_keep={max_keep}: '
                'give interval >= 0, and max_keep >= 1 or -1 for all.'
            )
        self.interval = interval
        self.max_keep = max_keep
        self.save_best = save_best
        self.save_last = save_last
        self.best_score: float | None = None
        self.saved: int | None = None  # the last saved iteration, or the first one of this training

    def before_run(self, runner: LisaRunner) -> None:
        """Remove what interrupted writes left, and read the best score so far."""
        # an evaluation may look into a folder that a training is just writing to
        if not runner.is_training:
            return
        work_dir = Path(runner.work_dir)
        if runner.rank == 0:
            leftovers = folders.remove_leftovers(work_dir)
            if leftovers:
                runner.logger.info(f'removed what an interrupted write left: {", ".join(leftovers)}')
            aside = None if runner.resumed else folders.set_aside(work_dir)
            if aside is not None:
                runner.logger.warning(
                    f'this run begins anew in a folder with checkpoints: they are in {aside} now. '
                    f'To go on from them, stop it and give --resume {aside}.'
                )
        barrier()
        if runner.resumed and self.save_best is not None:
            scores = [folders.read_meta(path).get('best_score') for path in self._best_folders(work_dir)]
            scores = [score for score in scores if score is not None]
            self.best_score = max(scores) if scores else None

    def before_train(self, runner: LisaRunner) -> None:
        """Note where it begins and what it is trained on, and refuse a disk that has no room for one checkpoint."""
        self.saved = runner.iter
        runner.refuse_full_disk('a checkpoint')
        if runner.rank == 0:
            runner.logger.info(describe_ledger(runner.ledger))

    def after_train(self, runner: LisaRunner) -> None:
        """Save where a hook stopped the training."""
        stopped = runner.stop_request.agreed is not None  # by a signal in a validation
        if (self.save_last or stopped) and runner.iter != self.saved:
            self._save(runner, runner.iter)

    def after_train_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Save if it is due, or a signal ends the training."""
        iteration = batch_idx + 1
        due = (bool(self.interval) and iteration % self.interval == 0) or runner.stop_request.agreed is not None
        if due or (self.save_last and iteration == runner.max_iters):
            self._save(runner, iteration)

    def after_val_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Keep the weights if their score is the best so far."""
        if self.save_best is None or not runner.is_training:
            return
        score = self._score(metrics or {})
        if score != score or (self.best_score is not None and score <= self.best_score):
            return
        self.best_score = float(score)
        work_dir = Path(runner.work_dir)
        name = f'best_{self.save_best}_iter_{runner.iter}'
        runner.save_checkpoint_folder(name, iteration=runner.iter, best_score=self.best_score, with_state=False)
        if runner.rank == 0:
            for path in self._best_folders(work_dir):
                if path.name != name:
                    shutil.rmtree(path)
            runner.logger.info(f'best {self.save_best} so far {self.best_score:.4f}: {name}')
        barrier()

    def _save(self, runner: LisaRunner, iteration: int) -> None:
        name = f'iter_{iteration}'
        runner.save_checkpoint_folder(name, iteration=iteration, best_score=self.best_score)
        self.saved = iteration
        if runner.rank == 0:
            work_dir = Path(runner.work_dir)
            folders.point_to(work_dir, work_dir / name)
            # checkpoints of later iterations belong to an earlier run in this folder: this run must not remove them
            own = [path for path in folders.list_checkpoints(work_dir) if folders.iteration_of(path) <= iteration]
            for path in own[: -self.max_keep] if self.max_keep > 0 else []:
                shutil.rmtree(path)
            runner.logger.info(f'saved {work_dir / name}')
        barrier()

    def _best_folders(self, work_dir: Path) -> list[Path]:
        return folders.list_checkpoints(work_dir, f'best_{self.save_best}_iter_')

    def _score(self, metrics: dict[str, float]) -> float:
        found = [value for name, value in metrics.items() if name.rpartition('/')[2] == self.save_best]
        if len(found) != 1:
            raise ConfigError(
                f'SafeCheckpointHook.save_best is {self.save_best!r}; validation gave {sorted(metrics)}. Choose one, or None.'
            )
        return found[0]
