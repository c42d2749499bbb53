"""The learning rate schedule, counted in optimizer steps."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from lisa_mm.errors import ConfigError

PROGRESS = ('last_step', '_global_step', '_last_value')


def is_mmengines(schedule: object) -> bool:
    """Whether a schedule is one of mmengine's own, whose progress is known; a plugin's state is its own business."""
    return type(schedule).__module__.startswith('mmengine.')


def saved_states(schedules: Any, states: Any) -> Any:
    """The states of schedules for a checkpoint: of mmengine's the progress and plain numbers.

    OneCycleLR has a method in its state and MultiStepLR a Counter, which no checkpoint gives back: they follow from the config.
    """
    if not isinstance(schedules, list) or not isinstance(states, list):
        return states
    plain = (bool, int, float, str, list, tuple, type(None))
    return [
        {name: value for name, value in state.items() if name in PROGRESS or type(value) in plain}
        if is_mmengines(schedule)
        else state
        for schedule, state in zip(schedules, states, strict=True)
    ]


def with_todays_shape(schedules: Any, states: Any) -> Any:
    """The states of mmengine's schedules with the numbers of today's config; each changed number is logged.

    mmengine takes the numbers out of the checkpoint. The end of a schedule is by default the end of the run, so a run that
    is resumed with more steps would stay at its last rate.

    Args:
        schedules: The schedules of this run.
        states: Their states in the checkpoint, in the same order.

    Returns:
        The states to load.
    """
    if not isinstance(schedules, list) or not isinstance(states, list) or len(schedules) != len(states):
        return states
    shaped = []
    for schedule, state in zip(schedules, states, strict=True):
        if not is_mmengines(schedule):
            shaped.append(state)
            continue
        today = {name: value for name, value in schedule.state_dict().items() if name not in PROGRESS}
        for name, value in today.items():
            if name in state and state[name] != value:
                print_log(
                    f'{type(schedule).__name__}: {name} was {state[name]} in the checkpoint and is {value} now; '
                    'the new value is used from here on.',
                    'current',
                )
        shaped.append({**state, **today})
    return shaped


@PARAM_SCHEDULERS.register_module()
class WarmupDecayLR(_ParamScheduler):
    """Linear warm-up from 0 to the optimizer's lr, then linear to 0.

    Optimizer step i (from 0) has ``lr * i / warmup`` before ``warmup`` and ``lr * (total - i) / (total - warmup)`` later, as
    in DeepSpeed's ``WarmupDecayLR(warmup_type='linear')`` at ``last_batch_iteration=i``.

    Args:
        optimizer: The optimizer or its wrapper.
        total_iters: Optimizer steps of the whole run; the train loop's ``max_iters`` if left out.
        warmup_iters: Optimizer steps of the warm-up; a run shorter than twice this warms up during its first half.
        by_epoch: Must be False: an iteration of the train loop is an optimizer step at any accumulation.
        end: The train loop's ``max_iters``, which mmengine passes.
        last_step, verbose: As in mmengine.

    Raises:
        ConfigError: if a count is negative, or ``by_epoch`` is True.
    """

    def __init__(
        self,
        optimizer: Any,
        total_iters: int | None = None,
        *,
        warmup_iters: int = 100,
        by_epoch: bool = False,
        end: int | None = None,
        last_step: int = -1,
        verbose: bool = False,
    ):
        total_iters = end if total_iters is None else total_iters
        if total_iters is None or total_iters < 1 or warmup_iters < 0:
            raise ConfigError(
                f'WarmupDecayLR got total_iters={total_iters}, warmup_iters={warmup_iters}: '
                'give total_iters >= 1 (train_cfg.max_iters) and warmup_iters >= 0.'
            )
        if by_epoch:
            raise ConfigError('WarmupDecayLR counts optimizer steps: leave by_epoch out, or set it to False.')
        self.total_iters = int(total_iters)
        self.warmup_iters = min(int(warmup_iters), self.total_iters // 2)
        super().__init__(optimizer, 'lr', last_step=last_step, by_epoch=False, verbose=verbose)

    def factor(self, step: int) -> float:
        """The fraction of the full learning rate at optimizer step ``step`` (from 0)."""
        if step < self.warmup_iters:
            return step / self.warmup_iters
        return max(0.0, (self.total_iters - step) / max(1, self.total_iters - self.warmup_iters))

    def _get_value(self) -> list[float]:
        return [base * self.factor(self.last_step) for base in self.base_values]

    def state_dict(self) -> dict[str, Any]:
        """The current step and the numbers of the schedule; its shape comes from the config."""
        return {
            'last_step': self.last_step,
            'global_step': self._global_step,
            'total_iters': self.total_iters,
            'warmup_iters': self.warmup_iters,
            'base_values': list(self.base_values),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the saved step of *this* config's schedule; log each changed number."""
        for name in ('total_iters', 'warmup_iters', 'base_values'):
            old, new = state_dict[name], getattr(self, name)
            if old != new:
                print_log(
                    f'WarmupDecayLR: {name} was {old} in the checkpoint and is {new} now; the new value is used.', 'current'
                )
        self.last_step = state_dict['last_step']
        self._global_step = state_dict['global_step']
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
            group['lr'] = value
        self._last_value = [group['lr'] for group in self.optimizer.param_groups]
