"""An exponential moving average of the trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from lisa_mm.checkpoints import folder as folders
from lisa_mm.errors import ConfigError
from lisa_mm.registry import HOOKS

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH

    from lisa_mm.engine.runner import LisaRunner

KEY = 'ema'  # of the state in a checkpoint


@HOOKS.register_module()
class EMAWeightsHook(Hook):
    """Averages the trained weights over the steps; validation, tests and checkpoints get the average.

    After each optimizer step ``average = (1 - momentum) * average + momentum * weights``, in float32 (of half-precision
    weights, DeepSpeed's float32 copies are averaged). The average begins as a copy of the weights. Frozen weights and buffers
    are neither copied nor averaged. As with mmengine's ``EMAHook``, a checkpoint's weights are the averaged ones, so testing,
    inference, export and ``load_from`` take them; the weights that training goes on with lie in the checkpoint's state, and
    a resumed run continues both exactly.

    Args:
        momentum: The share of the newest weights, above 0 and below 1.
        gamma: With a number, the share is ``max(momentum, gamma / (gamma + updates))``: the average follows quickly at first.
        interval: Optimizer steps between updates.
        begin_iter: The first optimizer step whose weights are averaged; before it, the weights themselves are used.

    Raises:
        ConfigError: if a value is out of its range, and before training with ZeRO-3, whose parameters are in pieces.
    """

    priority = 'NORMAL'  # before the checkpoint is written

    def __init__(self, momentum: float = 0.0002, *, gamma: int | None = None, interval: int = 1, begin_iter: int = 0):
        if not 0 < momentum < 1 or (gamma is not None and gamma < 1) or interval < 1 or begin_iter < 0:
            raise ConfigError(
                f'EMAWeightsHook has momentum={momentum}, gamma={gamma}, interval={interval}, begin_iter={begin_iter}: give '
                '0 < momentum < 1 (the share of the newest weights), gamma >= 1 or None, interval >= 1, begin_iter >= 0.'
            )
        self.momentum = momentum
        self.gamma = gamma
        self.interval = interval
        self.begin_iter = begin_iter
        self.updates = 0  # optimizer steps since the average began
        self.average: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}  # the trained weights while the average is in the model

    @classmethod
    def strategy_faults(cls, strategy: dict[str, Any]) -> list[str]:
        """Faults of a config's ``strategy`` together with this hook."""
        if strategy.get('type') == 'LisaDeepSpeedStrategy' and strategy.get('zero_stage', 2) == 3:
            return [
                'EMAWeightsHook averages whole weights, which no process holds with strategy.zero_stage=3: give zero_stage=2, '
                'or leave the hook out.'
            ]
        return []

    def before_train(self, runner: LisaRunner) -> None:
        """Refuse what cannot be averaged; put a resumed average beside the weights."""
        if runner.strategy.zero_stage == 3:  # pyright: ignore[reportAttributeAccessIssue] - one of this package's strategies
            raise ConfigError(self.strategy_faults({'type': 'LisaDeepSpeedStrategy', 'zero_stage': 3}))
        hooks = [type(hook).__name__ for hook in runner.hooks]
        if 'SafeCheckpointHook' in hooks[: runner.hooks.index(self)]:
            raise ConfigError(
                'EMAWeightsHook comes after SafeCheckpointHook, which would save an older average: leave out priority.'
            )
        for name, parameter in self._parameters(runner).items():
            if name in self.average:
                self.average[name] = self.average[name].to(parameter.device)
        if runner.resumed and not self.updates and runner.iter >= max(self.begin_iter, 1):
            runner.logger.warning('the checkpoint holds no average of weights: EMAWeightsHook begins one with the next step')

    def after_train_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict | None = None
    ) -> None:
        """Update the average."""
        if batch_idx + 1 < self.begin_iter:
            return
        if self.updates == 0 or self.updates % self.interval == 0:
            strategy: Any = runner.strategy
            share = self.momentum if self.gamma is None else max(self.momentum, self.gamma / (self.gamma + self.updates))
            for name, parameter in self._parameters(runner).items():
                master = strategy.master_weights(parameter)
                weights = parameter if master is None else master.view(parameter.shape)
                if self.updates == 0:
                    self.average[name] = weights.detach().to(torch.float32, copy=True)
                else:
                    self.average[name].lerp_(weights.detach().float(), share)
        self.updates += 1

    def before_val_epoch(self, runner: LisaRunner) -> None:
        """Put the average into the model."""
        self._put_in(runner)

    def after_val_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._take_out(runner)

    def before_test_epoch(self, runner: LisaRunner) -> None:
        """Put the average into the model; a test of a checkpoint has it already."""
        self._put_in(runner)

    def after_test_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._take_out(runner)

    def before_save_checkpoint(self, runner: LisaRunner, checkpoint: dict) -> None:
        """Save the average as the checkpoint's weights, and the trained weights with the state to resume from."""
        if not self.updates:
            return
        weights, kept = checkpoint['state_dict'], {}
        for name, average in self.average.items():
            value = weights[name]  # gathered from all processes
            weights[name] = average
            if runner.rank == 0:  # which writes
                kept[name] = value
        checkpoint[KEY] = {'updates': self.updates, 'weights': kept}

    def after_load_checkpoint(self, runner: LisaRunner, checkpoint: dict) -> None:
        """Take the average of a run that is resumed, and give the model its trained weights."""
        state, weights = checkpoint.get(KEY), checkpoint.get('state_dict')
        if state is None or weights is None:
            return
        self.updates = state['updates']
        for name, value in state['weights'].items():
            self.average[name] = weights[name]
            weights[name] = value

    def _parameters(self, runner: LisaRunner) -> dict[str, nn.Parameter]:
        """The trained parameters as a checkpoint names them."""
        trained, _ = folders.split_state(runner.strategy.module)  # pyright: ignore[reportAttributeAccessIssue] - one of this package's strategies
        return {
            name: value
            for name, value in trained.items()
            if isinstance(value, nn.Parameter) and value.requires_grad and value.is_floating_point()
        }

    def _put_in(self, runner: LisaRunner) -> None:
        if not self.updates or self._weights:
            return
        for name, parameter in self._parameters(runner).items():
            # exchanged, not overwritten: half-precision weights come back as they were
            self._weights[name] = parameter.data
            parameter.data = self.average[name].to(parameter.dtype)

    def _take_out(self, runner: LisaRunner) -> None:
        parameters = self._parameters(runner)
        # a tensor with two names was exchanged twice: the first exchange is undone last
        for name, weights in reversed(self._weights.items()):
            parameters[name].data = weights
        self._weights = {}
