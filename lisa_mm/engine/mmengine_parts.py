"""Which parts of mmengine work with this runner, and what to use instead of the others; docs/hooks.md is this table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

# mmengine's registries that are covered, and their headings
KINDS = {
    'HOOKS': 'Hooks',
    'PARAM_SCHEDULERS': 'Parameter schedulers',
    'VISUALIZERS': 'Visualizers',
    'VISBACKENDS': 'Visualisation backends',
    'DATA_SAMPLERS': 'Samplers',
    'LOG_PROCESSORS': 'Log processors',
    'OPTIM_WRAPPERS': 'Optimizer wrappers',
    'OPTIM_WRAPPER_CONSTRUCTORS': 'Constructors of optimizer wrappers',
    'LOOPS': 'Loops',
}


class Part(NamedTuple):
    """A part of mmengine.

    Args:
        kind: A key of ``KINDS``.
        works: Whether a config may name it.
        why: How it works here, or why it is refused and what to use instead.
        needs: Module that must be installed.
    """

    kind: str
    works: bool
    why: str
    needs: str | None = None


_STEPS = 'counts optimizer steps: needs `by_epoch=False` (mmengine counts epochs by default, and a run is one epoch)'
_PLATEAU = (
    'counts epochs, of which a run has one, and a metric of another name ends the run: use `WarmupDecayLR` or '
    '`CosineAnnealingLR(by_epoch=False)`, and `EarlyStoppingHook` to stop at a plateau'
)
_AMP = 'autocast is a setting of the strategy: leave `optim_wrapper.type` out and give `strategy.bf16=True`'
_TRACKER = 'needs `pip install {}`; not tried here'
_LOOP = 'counts forwards, not optimizer steps, and cannot resume within the data: use `IterTrainLoop`'
_SCHEDULES = ('Constant', 'CosineAnnealing', 'CosineRestart', 'Exponential', 'Linear', 'MultiStep', 'OneCycle', 'Poly', 'Step')

PARTS: dict[str, Part] = {
    'CheckpointHook': Part('HOOKS', False, "writes mmengine's files, which cannot be resumed here: use `SafeCheckpointHook`"),
    'DistSamplerSeedHook': Part('HOOKS', False, 'has no effect on `SeekableSampler`, whose order is fixed: leave it out'),
    'EMAHook': Part(
        'HOOKS',
        False,
        'copies the whole model with its frozen weights, and its copy is missing in our checkpoints: use `EMAWeightsHook`, '
        'which averages the trained weights',
    ),
    'EarlyStoppingHook': Part('HOOKS', True, 'a resumed run knows best score and count; an unknown `monitor` is an error'),
    'EmptyCacheHook': Part('HOOKS', True, 'on a GPU; the whole training is one epoch, each validation another'),
    'IterTimerHook': Part('HOOKS', True, 'a step is an optimizer step; `data_time` is that of its first micro-batch'),
    'LoggerHook': Part('HOOKS', True, 'with `log_metric_by_epoch=False`: a run is one epoch, all scores would lie on one place'),
    'NPUProfilerHook': Part('HOOKS', False, 'needs torch_npu, on which nothing here has run: use `ProfilerHook`'),
    'NaiveVisualizationHook': Part('HOOKS', False, 'takes batches apart that it does not know: use `PicturesHook`'),
    'ParamSchedulerHook': Part('HOOKS', True, 'a default hook: steps every schedule once an optimizer step'),
    'PrepareTTAHook': Part(
        'HOOKS', False, 'wraps the model for FSDP and a test-time-augmentation model; neither exists here: leave it out'
    ),
    'ProfilerHook': Part(
        'HOOKS', True, 'with `by_epoch=False` and `profile_times`: an epoch is the whole run; `tb_trace` needs torch-tb-profiler'
    ),
    'RuntimeInfoHook': Part('HOOKS', True, 'a default hook'),
    'SyncBuffersHook': Part(
        'HOOKS', False, 'averages all buffers, whole numbers too: norms of a plugin stay equal with `nn.SyncBatchNorm`'
    ),
    'Visualizer': Part('VISUALIZERS', True, 'gets the scalars of `ProgressHook` or `LoggerHook`'),
    'LocalVisBackend': Part('VISBACKENDS', True, 'scalars as JSON lines in `vis_data`; the default'),
    'TensorboardVisBackend': Part('VISBACKENDS', True, 'events in `vis_data`; `CurvesHook` writes some too', 'tensorboard'),
    'AimVisBackend': Part('VISBACKENDS', True, _TRACKER.format('aim'), 'aim'),
    'ClearMLVisBackend': Part('VISBACKENDS', True, _TRACKER.format('clearml'), 'clearml'),
    'DVCLiveVisBackend': Part('VISBACKENDS', True, _TRACKER.format('dvclive'), 'dvclive'),
    'MLflowVisBackend': Part('VISBACKENDS', True, _TRACKER.format('mlflow'), 'mlflow'),
    'NeptuneVisBackend': Part('VISBACKENDS', True, _TRACKER.format('neptune'), 'neptune'),
    'WandbVisBackend': Part('VISBACKENDS', True, _TRACKER.format('wandb'), 'wandb'),
    'DefaultSampler': Part('DATA_SAMPLERS', True, 'for `val_dataloader` and `test_dataloader`; training needs `SeekableSampler`'),
    'InfiniteSampler': Part(
        'DATA_SAMPLERS',
        False,
        'cannot resume a training, and a validation would never end: use `SeekableSampler` and `DefaultSampler`',
    ),
    'LogProcessor': Part(
        'LOG_PROCESSORS',
        True,
        'with `by_epoch=False` (the default here); formats validation, and training if `default_hooks.logger` is a `LoggerHook`',
    ),
    'OptimWrapper': Part('OPTIM_WRAPPERS', True, 'of the strategies without DeepSpeed, which choose it: leave `type` out'),
    'DeepSpeedOptimWrapper': Part('OPTIM_WRAPPERS', True, 'of `LisaDeepSpeedStrategy`, which chooses it: leave `type` out'),
    'AmpOptimWrapper': Part('OPTIM_WRAPPERS', False, _AMP),
    'ApexOptimWrapper': Part('OPTIM_WRAPPERS', False, _AMP),
    'ColossalAIOptimWrapper': Part('OPTIM_WRAPPERS', False, 'no strategy here uses ColossalAI: use `LisaDeepSpeedStrategy`'),
    'DefaultOptimWrapperConstructor': Part('OPTIM_WRAPPER_CONSTRUCTORS', True, 'rates by part (`paramwise_cfg`)'),
    'EpochBasedTrainLoop': Part('LOOPS', False, _LOOP),
    'IterBasedTrainLoop': Part('LOOPS', False, _LOOP),
    'ValLoop': Part('LOOPS', True, 'the default of `val_cfg`'),
    'TestLoop': Part('LOOPS', True, 'the default of `test_cfg`; `tools/test.py` runs `EvaluationLoop`'),
    **{
        f'{name}{suffix}': Part('PARAM_SCHEDULERS', True, _STEPS)
        for name in _SCHEDULES
        for suffix in ('LR', 'Momentum', 'ParamScheduler')
        if (name, suffix) != ('OneCycle', 'Momentum')  # mmengine has none
    },
    **{f'ReduceOnPlateau{suffix}': Part('PARAM_SCHEDULERS', False, _PLATEAU) for suffix in ('LR', 'Momentum', 'ParamScheduler')},
}


def part_faults(cls: Any, arguments: Mapping[str, Any], where: str) -> list[str]:
    """Faults of a part of mmengine in a config, or none for parts of others.

    Args:
        cls: Its class; a function is never refused.
        arguments: As written in the config.
        where: Its path in the config.
    """
    part = PARTS.get(cls.__name__)
    # a class of our own or of a plugin may bear the same name
    base = next((base for base in cls.__mro__ if base.__module__.startswith('mmengine.')), cls) if isinstance(cls, type) else cls
    if part is None or base.__name__ != cls.__name__:
        return []
    if not part.works:
        return [f'{where}.type is {cls.__name__!r}, which does not work with this runner: it {part.why}.']
    if part.needs and find_spec(part.needs) is None:
        return [
            f'{where}.type is {cls.__name__!r}, and {part.needs} is not installed: pip install {part.needs}, or leave it out.'
        ]
    if part.kind == 'PARAM_SCHEDULERS':
        if arguments.get('convert_to_iter_based'):
            return [f'{where}.convert_to_iter_based needs epochs, and a run has none: give counts in optimizer steps.']
        if arguments.get('by_epoch', True):
            return [f'{where}: {cls.__name__} {_STEPS}.']
    wrong = {'LoggerHook': 'log_metric_by_epoch', 'ProfilerHook': 'by_epoch'}.get(cls.__name__)
    if wrong and arguments.get(wrong, True):
        return [f'{where}: {cls.__name__} needs {wrong}=False: to mmengine the whole training is one epoch.']
    if cls.__name__ == 'LogProcessor' and arguments.get('by_epoch'):
        return [f'{where}.by_epoch is True, and a run has no epochs: leave it out.']
    trace = arguments.get('on_trace_ready')
    traced = cls.__name__ == 'ProfilerHook' and isinstance(trace, Mapping) and trace.get('type') == 'tb_trace'
    if traced and find_spec('torch_tb_profiler') is None:
        return [f'{where}.on_trace_ready tb_trace: pip install torch-tb-profiler, or give json_trace_path.']
    return []


def table() -> str:
    """The table of docs/hooks.md."""
    lines = []
    for kind, heading in KINDS.items():
        lines += [f'## {heading}', '', '| part | | how, or why not and what instead |', '|---|---|---|']
        rows = sorted((name, part) for name, part in PARTS.items() if part.kind == kind)
        lines += [f'| `{name}` | {"works" if part.works else "refused"} | {part.why} |' for name, part in rows]
        lines.append('')
    return '\n'.join(lines)
