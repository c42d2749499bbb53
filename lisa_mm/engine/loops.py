"""The train loop: one iteration is one optimizer step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from lisa_mm.errors import ConfigError, NonFiniteLossError
from lisa_mm.registry import DATA_SAMPLERS, LOOPS

from .rng import preserved_rng
from .stopping import breaking_off

CANNOT_SEEK = (
    "train_dataloader.sampler.type is {!r}, which cannot resume: use sampler=dict(type='SeekableSampler'), or write a method "
    'seek(samples=...).'
)


@LOOPS.register_module()
class IterTrainLoop(BaseLoop):
    """Trains for a number of optimizer steps, each over ``strategy.accumulation`` micro-batches.

    Schedules, logs, checkpoints and validation count optimizer steps. A resumed run starts the sampler where the checkpoint
    was written; nothing is replayed. The logged losses are means over micro-batches and processes.

    Args:
        runner: The runner, with one of this package's strategies.
        dataloader: The data loader or its config, with a sampler that can ``seek(samples=...)``.
        max_iters: Number of optimizer steps.
        val_interval: Optimizer steps between validations; training always ends with one, and 0 validates only then.
        val_begin: First optimizer step after which to validate.
        val_at_start: Also validate before the first step, where the curves start.

    Raises:
        ConfigError: if the sampler cannot seek, or a count is not a whole number.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        *,
        val_interval: int = 0,
        val_begin: int = 1,
        val_at_start: bool = False,
    ):
        faults = self.argument_faults({'max_iters': max_iters, 'val_interval': val_interval, 'val_begin': val_begin})
        if faults:
            raise ConfigError(faults)
        super().__init__(runner, dataloader)
        if not can_seek(self.dataloader.sampler):
            raise ConfigError(CANNOT_SEEK.format(type(self.dataloader.sampler).__name__))
        self._max_iters = max_iters
        self._iter = 0
        self._begun = (0, 0)
        self._epoch = 0
        self.val_interval = val_interval
        self.val_begin = val_begin
        self.val_at_start = val_at_start
        # mmengine's EarlyStoppingHook sets it
        self.stop_training = False
        self.resumed = False
        if hasattr(self.dataloader.dataset, 'metainfo'):
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo  # pyright: ignore[reportAttributeAccessIssue] - mmengine's data sets have it

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Faults of the arguments that can be found without a runner."""
        faults = [
            f'train_cfg.{key} is {arguments[key]!r}; give a whole number >= 0.'
            for key in ('max_iters', 'val_interval', 'val_begin')
            if key in arguments and (type(arguments[key]) is not int or arguments[key] < 0)
        ]
        loader = arguments.get('dataloader')
        sampler = (loader.get('sampler') or {}).get('type') if isinstance(loader, dict) else None
        if isinstance(sampler, str) and DATA_SAMPLERS.get(sampler) and not can_seek(DATA_SAMPLERS.get(sampler)):
            faults.append(CANNOT_SEEK.format(sampler))
        return faults

    @property
    def max_iters(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self._max_iters

    @property
    def iter(self) -> int:
        """Number of optimizer steps done."""
        return self._iter

    @property
    def max_epochs(self) -> int:
        """Always 1: to mmengine the whole training is one epoch."""
        return 1

    @property
    def epoch(self) -> int:
        """Always 0."""
        return self._epoch

    def resume_at(self, iteration: int, samples: int) -> None:
        """Go on after some optimizer steps.

        Args:
            iteration: Number of optimizer steps done.
            samples: Samples that all processes together have consumed in them.
        """
        self._iter = iteration
        self._begun = (iteration, samples)
        self.resumed = True

    def samples_at(self, iteration: int) -> int:
        """Samples that all processes together have consumed after ``iteration`` optimizer steps."""
        steps, samples = self._begun
        return samples + (iteration - steps) * self.runner.strategy.samples_per_step

    def run(self) -> torch.nn.Module:
        """Train and return the model."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        if self._stops(runner.stop_request.agree()):
            pass  # a signal came while the model was built
        elif self.resumed and self._iter:
            # the interruption may have come between the checkpoint and its validation
            self._validate_if_due()
        elif self.val_at_start:
            self._validate()
        micro_batches = self._micro_batches()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(micro_batches)
            if not self._stops(runner.stop_request.agreed):
                self._validate_if_due()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def run_iter(self, micro_batches: Iterator[dict]) -> None:
        """Run one optimizer step; the hooks get its first micro-batch."""
        strategy = self.runner.strategy
        count = strategy.accumulation
        first = batch = next(micro_batches)
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=first)
        sums: dict[str, torch.Tensor] = {}
        means: dict[str, float] = {}
        fault = None
        for index in range(count):
            if index:
                batch = next(micro_batches)
            last = index == count - 1
            total, parts = strategy.compute_losses(batch, last=last)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float()
            fault = fault or self._find_fault(parts, batch)
            # a process that stopped alone would keep the others waiting: all agree once, before the gradients are averaged
            if last or strategy.world_size == 1:
                values = torch.stack(list(sums.values())).tolist() if last else []  # one device read for all losses
                means = self._agree({name: value / count for name, value in zip(sums, values, strict=False)}, fault)
            strategy.backward_and_step(total, last=last)
        self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=first, outputs=means)
        self._iter += 1

    def _micro_batches(self) -> Iterator[dict]:
        self.dataloader.sampler.seek(samples=self.samples_at(self._iter))  # pyright: ignore[reportAttributeAccessIssue] - it can, seen above
        # the iterator draws a seed for its workers
        with preserved_rng():
            return iter(self.dataloader)

    def _validate_if_due(self) -> None:
        at_end = self._iter == self._max_iters
        due = bool(self.val_interval) and self._iter % self.val_interval == 0 and self._iter >= self.val_begin
        if due or at_end:
            self._validate()

    def _stops(self, signum: int | None) -> bool:
        self.stop_training |= signum is not None
        return signum is not None

    def _validate(self) -> None:
        loop = self.runner.val_loop
        if loop is not None:
            with preserved_rng(), breaking_off(loop, self.runner.stop_request):
                loop.run()
            self._stops(self.runner.stop_request.agreed)

    def _find_fault(self, parts: dict[str, torch.Tensor], batch: dict) -> str | None:
        """A description of a micro-batch with a non-finite loss; None if all losses are finite."""
        if torch.stack([value.detach().float() for value in parts.values()]).isfinite().all():
            return None
        values = ', '.join(f'{name}={float(value.detach()):g}' for name, value in parts.items())
        names = [getattr(sample, 'sample_id', 'unnamed') for sample in batch.get('data_samples', [])]
        return f'process {self.runner.strategy.rank}: {values}; samples {names}'

    def _agree(self, losses: dict[str, float], fault: str | None) -> dict[str, float]:
        """Average the losses over the processes, and learn which of them received a signal.

        Raises:
            NonFiniteLossError: on every process, if any has a fault.
        """
        request = self.runner.stop_request
        own = (losses, fault, request.signum)
        gathered = all_gather_object(own) if self.runner.strategy.world_size > 1 else [own]
        request.take([signum for _, _, signum in gathered])
        faults = [text for _, text, _ in gathered if text is not None]
        if faults:
            raise NonFiniteLossError(
                f'the loss is not finite in iteration {self._iter + 1} ({"; ".join(faults)}). No step was made with it. '
                'Look at these samples (tools/data.py preview), lower the learning rate, or resume from the last checkpoint.'
            )
        names = sorted({name for part, _, _ in gathered for name in part})
        return {
            name: math.fsum(part[name] for part, _, _ in gathered if name in part) / _holders(gathered, name) for name in names
        }


def can_seek(sampler: object) -> bool:
    """Whether a sampler, or a class of samplers, can start at a number of samples."""
    seek = getattr(sampler, 'seek', None)
    return seek is not None and 'samples' in inspect.signature(seek).parameters


def _holders(gathered: list, name: str) -> int:
    return sum(name in part for part, _, _ in gathered)
