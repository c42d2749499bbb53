"""mmengine's runner with this package's strategy, loop, checkpoints and defaults."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, FlexibleRunner
from mmengine.runner.utils import _get_batch_size
from torch.utils.data import DataLoader

from lisa_mm.checkpoints.exported import is_exported
from lisa_mm.checkpoints.folder import find_checkpoint, iteration_of, list_checkpoints
from lisa_mm.checkpoints.ledger import Ledger
from lisa_mm.errors import CheckpointError, ConfigError, DataError, TrainingStopped
from lisa_mm.registry import HOOKS, STRATEGIES

from .changed_data import changed_since_loaded, changed_since_saved, loaded_states
from .device import set_tf32
from .evaluation_loop import EvaluationLoop
from .faults import checkpoint_bytes, explain, explain_writing, folder_bytes, refuse_full_disk
from .hooks.ema_weights_hook import KEY as EMA_KEY
from .hooks.ema_weights_hook import EMAWeightsHook
from .launch import detect_launcher
from .lock import locked, refuse_lost_lock
from .mmengine_parts import PARTS, part_faults
from .patches import linear_given_back
from .processes import process_mark, together
from .sampler import SeekableSampler
from .stopping import StopRequest, shield_workers
from .strategies.base import strategy_class
from .trained_on import inherited_ledger, ledger_of

if TYPE_CHECKING:
    from mmengine.logging import MessageHub


@RUNNERS.register_module()
class LisaRunner(FlexibleRunner):
    """Takes the keys of mmengine's ``FlexibleRunner``; missing keys get working defaults.

    Args:
        model: The model or its config.
        env_cfg: As in mmengine, plus ``tf32``: whether a GPU multiplies float32 with fewer digits (see :func:`.device.set_tf32`),
            in training and validation; off by default. Under bfloat16 it hardly matters.
        config_text: The config's source, kept in every checkpoint. By default ``cfg`` as text.
        resume: True continues from the work folder's last checkpoint, or starts if there is none; a path continues from it.
        load_from: A checkpoint with the initial weights, unless a checkpoint is resumed. An exported folder then gives the
            frozen parts.
        settings: Other arguments of FlexibleRunner.
    """

    model: torch.nn.Module

    def __init__(self, model: torch.nn.Module | dict[str, Any], *, config_text: str | None = None, **settings: Any):
        settings['launcher'] = detect_launcher(launcher=settings.get('launcher') or 'auto')
        settings['env_cfg'] = dict(settings.get('env_cfg') or {})
        tf32 = settings['env_cfg'].pop('tf32', False)
        if not isinstance(tf32, bool):
            raise ConfigError(f'env_cfg.tf32 is {tf32!r}; give True or False, or leave it out.')
        set_tf32(tf32)
        if settings.get('default_scope') in (None, 'mmengine'):
            settings['default_scope'] = 'lisa_mm'
        settings['log_processor'] = {'by_epoch': False, **(settings.get('log_processor') or {})}
        # a sampler without epochs has no use for a seed per epoch
        defaults = {'checkpoint': {'type': 'SafeCheckpointHook'}, 'logger': {'type': 'ProgressHook'}, 'sampler_seed': None}
        settings['default_hooks'] = {**defaults, **(settings.get('default_hooks') or {})}
        self.resumed = False
        self.is_training = False
        self.stop_request = StopRequest()
        self._written: dict[bool, int] = {}  # bytes of the last checkpoint with and without state
        self._config_text = config_text
        self._inherited = Ledger()
        self._ledger: Ledger | None = None
        # mmengine refuses it together with a checkpoint to resume, but it gives the frozen parts: see load_or_resume
        load_from = settings.pop('load_from', None)
        super().__init__(model, **settings)
        self._load_from = load_from
        self._evaluator_of_tests = self._test_evaluator
        if torch.cuda.is_available():
            self.logger.info(
                f'on {torch.cuda.get_device_name()}, TF32 in float32 products {"on" if tf32 else "off"} (env_cfg.tf32)'
            )

    @property
    def config_text(self) -> str | None:
        """The text that a checkpoint keeps as ``config.py``."""
        if self._config_text is None and len(self.cfg):
            self._config_text = self.cfg.pretty_text
        return self._config_text

    @config_text.setter
    def config_text(self, text: str) -> None:
        self._config_text = text

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """As in mmengine; hooks of mmengine that do not work here are refused, see docs/hooks.md."""
        cls = type(hook) if isinstance(hook, Hook) else HOOKS.get(hook.get('type', '')) if isinstance(hook, dict) else None
        part = PARTS.get(cls.__name__) if cls is not None and cls.__module__.startswith('mmengine.') else None
        if cls is not None and part is not None and not part.works:
            raise ConfigError(part_faults(cls, {}, 'a hook'))
        super().register_hook(hook, priority)

    def build_strategy(  # pyright: ignore[reportIncompatibleMethodOverride] - FlexibleRunner calls it with keywords alone
        self, strategy: Any = None, launcher: str = 'none', **settings: Any
    ) -> Any:
        """Build the strategy from this package's registry, which falls back to mmengine's."""
        if strategy is None:
            strategy = {'type': 'LisaSingleDeviceStrategy' if launcher == 'none' else 'LisaDeepSpeedStrategy'}
        if isinstance(strategy, dict):
            strategy_class(strategy.get('type'))  # reports a strategy that is not one of ours
            strategy = {**strategy, 'train_micro_batch_size_per_gpu': self._micro_batch()}
            strategy.setdefault('work_dir', self.work_dir)
            strategy.setdefault('experiment_name', settings.get('experiment_name'))
            strategy.setdefault('auto_scale_lr', self._auto_scale_lr)
            env = {'launcher': launcher, 'randomness': settings['randomness'], **settings['env_cfg']}
            strategy.setdefault('env_kwargs', env)
            strategy.setdefault('log_kwargs', {'log_level': settings['log_level']})
            strategy = STRATEGIES.build(strategy)
        return strategy

    def _micro_batch(self) -> int:
        loader = self._train_dataloader
        if loader is None or (isinstance(loader, dict) and not {'batch_size', 'batch_sampler'} & loader.keys()):
            return 1  # as torch's data loader
        return _get_batch_size(loader)  # pyright: ignore[reportArgumentType] - takes a built loader too

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader; the seekable sampler gets the batch size, and with a GPU batches lie in pinned memory."""
        if isinstance(dataloader, dict) and torch.cuda.is_available():
            dataloader = {'pin_memory': True, **dataloader}  # only pinned memory can be copied to the GPU during other work
        sampler = dataloader.get('sampler') if isinstance(dataloader, dict) else None
        if (
            isinstance(dataloader, dict)
            and isinstance(sampler, dict)
            and sampler.get('type') in ('SeekableSampler', SeekableSampler)
        ):
            # not a deep copy: the data set may be built already
            dataloader = {**dataloader, 'sampler': {**sampler, 'batch_size': dataloader.get('batch_size', 1)}}
        built = FlexibleRunner.build_dataloader(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)
        if isinstance(dataloader, dict):
            shield_workers(built)
        return built

    def train(self) -> torch.nn.Module:
        """Train and return the model.

        Raises:
            TrainingStopped: after a SIGTERM, SIGUSR1 or Ctrl-C, with the checkpoint saved.
            UserError: if the disk is full, or a data worker or another process was killed.
        """
        self.is_training = True
        with ExitStack() as stack:
            with together():
                stack.enter_context(locked(self.work_dir, owner=self.rank == 0))
            stack.enter_context(self.stop_request.listening())
            stack.enter_context(linear_given_back())
            marks = [process_mark()] if get_world_size() == 1 else all_gather_object(process_mark())
            try:
                model = super().train()
            except Exception as error:
                if self.stop_request.signum is not None and 'DataLoader worker' in str(error):
                    # the signal went to the whole group, and reached a worker before it was shielded
                    raise self._stopped(self.stop_request.signum) from error
                told = explain(error, marks, self.iter)
                if isinstance(told or error, DataError) and (change := changed_since_loaded(self._training_set)):
                    told = DataError(f'{told or error} {change}')
                if told is None:
                    raise
                raise told from error
            if self.rank == 0 and (change := changed_since_loaded(self._training_set)):
                self.logger.warning(change)
            if self.stop_request.agreed is not None:
                raise self._stopped(self.stop_request.agreed)
            return model

    @property
    def _training_set(self) -> Any:
        # the runner's own properties would build a loop that could not be built
        return self._train_loop.dataloader.dataset if isinstance(self._train_loop, BaseLoop) else None

    def _stopped(self, signum: int) -> TrainingStopped:
        last = next(reversed(list_checkpoints(Path(self.work_dir))), None)
        if last is not None and iteration_of(last) == self.iter:
            kept = f'{last} holds it: go on with the same command and --resume.'
        elif last is not None:
            kept = f'No step was saved after {last}: go on from there with the same command and --resume.'
        else:
            kept = 'No checkpoint was saved.'
        message = f'{signal.Signals(signum).name} ended the training after iteration {self.iter} of {self.max_iters}. {kept}'
        return TrainingStopped(message if self.rank == 0 else '', signum)

    def val(self) -> dict[str, float]:
        """Validate; returns the scores."""
        with linear_given_back():
            return super().val()

    def test(self) -> dict[str, float]:
        """Test; returns the scores."""
        with linear_given_back():
            return super().test()

    def test_on(self, dataloader: dict[str, Any], title: str, answers: str = 'given') -> dict[str, float]:
        """Run :meth:`test` over a data loader with a fresh evaluator; may be called several times.

        Args:
            dataloader: Config of the data loader.
            title: Label of the progress bar.
            answers: As in :class:`.evaluation_loop.EvaluationLoop`.
        """
        self._test_dataloader = dataloader
        self._test_evaluator = self._evaluator_of_tests
        self._test_loop = {'type': 'EvaluationLoop', 'title': title, 'answers': answers}
        return self.test()

    @property
    def tests(self) -> EvaluationLoop:
        """The loop of the last test."""
        assert isinstance(self.test_loop, EvaluationLoop)
        return self.test_loop

    def load_or_resume(self) -> None:
        """Resume, load weights, or neither; ``resume=True`` starts anew in an empty work folder."""
        if self._has_loaded or (not self._resume and self._load_from is None):
            return
        self._has_loaded = True
        found = self._resume if isinstance(self._resume, str) else self.work_dir if self._resume else None
        if found and (isinstance(self._resume, str) or list_checkpoints(Path(found))):
            if self._load_from is not None and is_exported(self._load_from):
                self._begin_with(self._load_from)  # the frozen parts; the checkpoint holds the trained ones
            self.resume(found)
        else:
            if self._resume:
                self.logger.info(f'{self.work_dir} holds no checkpoint to resume from: the training begins')
            if self._load_from is not None:
                self._begin_with(self._load_from)

    def _begin_with(self, filename: str) -> None:
        self.load_checkpoint(filename)
        self._inherit(find_checkpoint(filename, prefer='best'))

    def _inherit(self, folder: Path) -> None:
        if self.rank == 0:  # the only one that writes it
            self._inherited = self._inherited.merged(inherited_ledger(folder))
            self._ledger = None

    @property
    def ledger(self) -> Ledger:
        """What the weights are trained on: this run's data sets, and those of the weights that it began with.

        Known on the first process alone.
        """
        if self._ledger is None:
            self._ledger = self._inherited.merged(ledger_of(self._training_set))
        return self._ledger

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = 'default',
    ) -> None:
        """Continue from a checkpoint, see the strategy's ``resume``."""

        def loaded(checkpoint: dict[str, Any]) -> None:
            if EMA_KEY in checkpoint and not any(isinstance(hook, EMAWeightsHook) for hook in self.hooks):
                raise CheckpointError(
                    f'{filename} was trained with EMAWeightsHook, and this run has none: its weights are an average. '
                    'Keep the hook in custom_hooks, or begin anew from the average with load_from.'
                )
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)

        checkpoint = self.strategy.resume(
            filename,
            resume_optimizer=resume_optimizer,
            resume_param_scheduler=resume_param_scheduler,
            callback=loaded,
        )
        self._inherit(find_checkpoint(filename))
        loop: Any = self.train_loop  # an IterTrainLoop; mmengine types its base
        loop.resume_at(checkpoint['meta']['iter'], checkpoint['meta']['samples'])
        self.resumed = True
        if checkpoint['message_hub'] is not None:
            _load_scalars(self.message_hub, checkpoint['message_hub'])
        change = changed_since_saved(self._training_set, checkpoint['meta'].get('data'))
        if change is not None:
            self.logger.warning(change)
        self.logger.info(f'resumed at iteration {self.iter} of {self.max_iters}')

    def save_checkpoint_folder(
        self, name: str, *, iteration: int, best_score: float | None = None, with_state: bool = True
    ) -> None:
        """Write a checkpoint into the work folder; all processes must call it.

        Args:
            name: Name of the folder.
            iteration: Number of optimizer steps done.
            best_score: Best validation score so far.
            with_state: Include the state needed to resume.

        Raises:
            WorkFolderError: if the disk is full; earlier checkpoints stay.
        """
        final = Path(self.work_dir) / name
        needed = self.refuse_full_disk(name, with_state=with_state)
        loop: Any = self.train_loop  # as above
        try:
            self.strategy.save_checkpoint(
                str(final),
                save_optimizer=with_state,
                extra_ckpt={
                    'meta': {
                        'iter': iteration,
                        'samples': loop.samples_at(iteration),
                        'best_score': best_score,
                        'data': loaded_states(self._training_set),
                    },
                    'message_hub': _scalars(self.message_hub),
                    'config_text': self.config_text,
                    'ledger': self.ledger if self.rank == 0 else None,
                },
                callback=lambda checkpoint: self.call_hook('before_save_checkpoint', checkpoint=checkpoint),
            )
        except Exception as error:
            told = explain_writing(error, final, needed)
            if told is None:
                raise
            shutil.rmtree(final.with_name(f'.tmp_{name}'), ignore_errors=True)  # makes room
            raise told from error
        if self.rank == 0:
            self._written[with_state] = folder_bytes(final)

    def refuse_full_disk(self, name: str, *, with_state: bool = True) -> int:
        """Raise a WorkFolderError on all processes if a checkpoint has no room, or another run has taken the work folder.

        Args:
            name: The checkpoint's name.
            with_state: Include the state needed to resume.

        Returns:
            Bytes that it needs at least: as much as the last one of its kind.
        """
        optimizer = getattr(self.optim_wrapper, 'optimizer', None) if with_state else None
        strategy: Any = self.strategy
        needed = max(checkpoint_bytes(strategy.module, optimizer), self._written.get(with_state, 0))
        with together():
            if self.rank == 0:
                refuse_lost_lock(self.work_dir)
                refuse_full_disk(Path(self.work_dir) / name, needed)
        return needed


def _scalars(hub: MessageHub) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A message hub's curves, in types that a weights-only load accepts; its other contents belong to the running process.

    So do the seconds of each step, by which alone the checkpoints of equal runs would differ.
    """
    buffers = {name: buffer.data for name, buffer in hub.state_dict()['log_scalars'].items() if not name.endswith('time')}
    return {name: (torch.as_tensor(values), torch.as_tensor(counts)) for name, (values, counts) in buffers.items()}


def _load_scalars(hub: MessageHub, scalars: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    for name, (values, counts) in scalars.items():
        hub.log_scalars[name] = HistoryBuffer(values.tolist(), counts.tolist())
