"""What docs/hooks.md says of mmengine's parts, tried with real runs of a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from test_ema import Count
from toy import ToyDataset, collate, make_config, model_of

from lisa_mm.config.checks import check_hooks, check_loader, check_logging, check_part, check_schedules
from lisa_mm.engine import LisaRunner
from lisa_mm.engine.mmengine_parts import PARTS, part_faults
from lisa_mm.errors import ConfigError

SINGLE = 'LisaSingleDeviceStrategy'
VALUES: dict[str, dict[str, Any]] = {
    'Constant': {'factor': 0.5, 'end': 4},
    'CosineAnnealing': {'T_max': 6},
    'CosineRestart': {'periods': [3, 3], 'restart_weights': [1, 0.5], 'eta_min': 0.0},
    'Exponential': {'gamma': 0.5},
    'Linear': {'start_factor': 0.5, 'end': 4},
    'MultiStep': {'milestones': [1, 4], 'gamma': 0.5},
    'OneCycle': {'total_steps': 6, 'eta_max': 0.1},
    'Poly': {'power': 0.9, 'end': 6},
    'Step': {'step_size': 2, 'gamma': 0.5},
}
SCHEDULES = [name for name, part in PARTS.items() if part.kind == 'PARAM_SCHEDULERS' and part.works]


class Settings(Hook):
    """Learning rate and momentum before each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        group = runner.optim_wrapper.optimizer.param_groups[0]
        self.seen.append((group['lr'], group['betas'][0]))


def run(folder: Path, *, hooks: Any = (), validate: bool = False, more: Any = None, **options: Any) -> LisaRunner:
    options = {'work_dir': str(folder), 'strategy': SINGLE, **options}
    loader = {'dataset': ToyDataset(length=4), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}, 'batch_size': 2}
    validation: dict[str, Any] = {
        'val_dataloader': {**loader, 'num_workers': 0, 'collate_fn': collate},
        'val_cfg': {'type': 'ValLoop'},
        'val_evaluator': [Count()],
    }
    config = make_config({**options, 'more': validation if validate else {}}) | (more or {})
    runner = LisaRunner(model_of(options), **config, custom_hooks=list(hooks), launcher='none')
    runner.train()
    return runner


def schedule(name: str) -> dict[str, Any]:
    kind = next(kind for kind in VALUES if name.startswith(kind))
    values = {'type': name, 'by_epoch': False, **VALUES[kind]}
    return {**values, 'param_name': 'lr'} if name.endswith('ParamScheduler') else values


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_schedule_changes_its_setting_and_is_resumed(tmp_path, name):
    more = {'param_scheduler': schedule(name)}
    whole, rest = Settings(), Settings()
    run(tmp_path / 'whole', hooks=[whole], max_iters=6, interval=3, more=more)
    run(tmp_path / 'rest', hooks=[rest], max_iters=6, resume=str(tmp_path / 'whole/iter_3'), more=more)
    assert len(whole.seen) == 6
    assert rest.seen == whole.seen[3:]
    changed = {values[1 if name.endswith('Momentum') else 0] for values in whole.seen}
    assert len(changed) > 1, whole.seen
    config = Config({'train_cfg': {'max_iters': 6}, 'param_scheduler': schedule(name)})
    faults: list[str] = []
    check_schedules(config, faults)
    assert not faults
    by_default = {key: value for key, value in schedule(name).items() if key != 'by_epoch'}
    check_schedules(Config({'train_cfg': {'max_iters': 6}, 'param_scheduler': by_default}), faults)
    assert any('by_epoch=False' in fault for fault in faults)


def test_a_run_that_is_made_longer_goes_on_with_its_schedule(tmp_path):
    more = {'param_scheduler': {'type': 'CosineAnnealingLR', 'T_max': 6, 'by_epoch': False}}
    run(tmp_path, max_iters=3, more=more)
    rest = Settings()
    run(tmp_path, hooks=[rest], max_iters=6, resume=True, more=more)
    # the end of the schedule, which mmengine sets to the end of the run, is in the checkpoint
    assert rest.seen[2] < rest.seen[1] < rest.seen[0]
    assert 'CosineAnnealingLR: end was 3 in the checkpoint and is 6 now' in ''.join(
        p.read_text() for p in tmp_path.rglob('*.log')
    )


@pytest.mark.parametrize('name', [name for name, part in PARTS.items() if not part.works])
def test_refused_before_training(name):
    registry = getattr(mmengine_registry, PARTS[name].kind)
    faults: list[str] = []
    check_part(registry, {'type': name}, 'here', faults)
    assert any(PARTS[name].why in fault for fault in faults)


@pytest.mark.parametrize('name', [name for name, part in PARTS.items() if part.kind == 'VISBACKENDS'])
def test_backends_that_are_not_installed_are_refused(monkeypatch, name):
    cls, needs = mmengine_registry.VISBACKENDS.get(name), PARTS[name].needs
    monkeypatch.setattr('lisa_mm.engine.mmengine_parts.find_spec', lambda module: None)
    faults: list[str] = []
    check_logging(Config({'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': name}]}}), faults)
    assert [f'pip install {needs}' in fault for fault in faults] == ([True] if needs else [])
    monkeypatch.setattr('lisa_mm.engine.mmengine_parts.find_spec', lambda module: object())
    assert part_faults(cls, {}, 'here') == []


def test_a_runner_without_check_config_refuses_too(tmp_path):
    for hook in (EMAHook(), {'type': 'EMAHook'}, CheckpointHook()):
        with pytest.raises(ConfigError, match='does not work with this runner'):
            run(tmp_path, hooks=[hook])


def test_scalars_of_logger_hook_processor_and_backends(tmp_path):
    backends = [{'type': 'LocalVisBackend'}, {'type': 'TensorboardVisBackend'}]
    more = {
        'visualizer': {'type': 'Visualizer', 'vis_backends': backends},
        'log_processor': {'window_size': 2, 'num_digits': 3},
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 2, 'log_metric_by_epoch': False},
            'checkpoint': {'type': 'SafeCheckpointHook', 'save_best': None},
        },
    }
    hooks = [{'type': 'EmptyCacheHook', 'after_iter': True}]
    for iterations, resume in ((2, False), (4, True)):
        run(tmp_path, hooks=hooks, validate=True, max_iters=iterations, total_iters=4, resume=resume, more=more)
    lines = [json.loads(line) for path in tmp_path.rglob('scalars.json') for line in path.read_text().splitlines()]
    assert sorted(line['step'] for line in lines if 'loss' in line) == [2, 4]
    assert {line['step'] for line in lines if 'gIoU' in line} == {2, 4}
    assert len(list(tmp_path.rglob('events.out.tfevents.*'))) == 2
    assert {'time', 'data_time'} <= lines[0].keys()  # of IterTimerHook


def test_early_stopping_knows_its_count_after_a_resume(tmp_path):
    Count.calls = 0
    hook = {'type': 'EarlyStoppingHook', 'monitor': 'gIoU', 'rule': 'greater', 'patience': 3}
    common = {'hooks': [hook], 'validate': True, 'train_cfg': {'val_interval': 1}, 'interval': 1, 'total_iters': 9}
    # scores fall: 1 is the best, and three worse ones follow
    assert run(tmp_path / 'whole', max_iters=9, **common).iter == 4
    Count.calls = 0
    run(tmp_path / 'cut', max_iters=2, **common)
    Count.calls = 1  # the resumed run validates step 2 again, which its checkpoint does not count
    assert run(tmp_path / 'cut', max_iters=9, resume=True, **common).iter == 4
    with pytest.raises(ConfigError, match=r"monitor is 'mIoU'; validation gave \['gIoU'\]"):
        run(tmp_path / 'other', max_iters=9, **{**common, 'hooks': [{**hook, 'monitor': 'mIoU'}]})


def test_the_profiler_ends(tmp_path):
    trace = tmp_path / 'trace.json'
    hook = {'type': 'ProfilerHook', 'by_epoch': False, 'profile_times': 2, 'json_trace_path': str(trace)}
    run(tmp_path, hooks=[hook], max_iters=3)
    assert 'traceEvents' in json.loads(trace.read_text())
    trace.unlink()
    run(tmp_path, hooks=[hook], max_iters=4, resume=True)  # the profiled steps are past
    assert not trace.exists()


def test_hooks_for_training_pass_a_test(tmp_path):
    hooks = [
        {'type': 'EarlyStoppingHook', 'monitor': 'gIoU', 'rule': 'greater'},
        {'type': 'ProfilerHook', 'by_epoch': False},
        {'type': 'EMAWeightsHook'},
    ]
    loader = {'dataset': ToyDataset(length=4), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}, 'batch_size': 2}
    runner = LisaRunner(
        model_of({}),
        work_dir=str(tmp_path),
        strategy={'type': 'LisaEvaluationStrategy'},
        launcher='none',
        test_dataloader={**loader, 'num_workers': 0, 'collate_fn': collate},
        test_evaluator=[Count()],
        test_cfg={'type': 'TestLoop'},
        default_hooks={'checkpoint': None, 'logger': None},
        custom_hooks=hooks,
        cfg={'init_weights_for_test_or_val': False},
    )
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    assert 'gIoU' in runner.test()
    assert all(torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'log_processor': {'by_epoch': True}}, 'a run has no epochs'),
        ({'log_processor': {'window_size': 5}}, 'no effect with ProgressHook'),
        ({'visualizer': {'type': 'Visualiser'}}, 'no registered visualizer'),
        ({'visualizer': {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalBackend'}]}}, 'vis_backends\\[0\\].type'),
        ({'default_hooks': {'logger': {'type': 'LoggerHook'}}}, 'needs log_metric_by_epoch=False'),
        ({'custom_hooks': [{'type': 'ProfilerHook'}]}, 'needs by_epoch=False'),
        (
            {'custom_hooks': [{'type': 'ProfilerHook', 'by_epoch': False, 'on_trace_ready': {'type': 'tb_trace'}}]},
            'pip install torch-tb-profiler',
        ),
        (
            {
                'custom_hooks': [{'type': 'EMAWeightsHook'}],
                'strategy': {'type': 'LisaDeepSpeedStrategy', 'zero_stage': 3},
            },
            'give zero_stage=2',
        ),
        ({'param_scheduler': {'type': 'WarmupDecayLR'}, 'default_hooks': {'param_scheduler': None}}, 'has no effect'),
    ],
)
def test_without_effect_or_wrong(settings, message):
    faults: list[str] = []
    check_hooks(Config(settings), faults)
    check_logging(Config(settings), faults)
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(faults)


@pytest.mark.parametrize('name', ['InfiniteSampler', 'SeekableSampler'])
def test_a_validation_that_never_ends_is_refused(name):
    faults: list[str] = []
    check_loader({'sampler': {'type': name}}, 'val_dataloader', faults)
    assert faults
    assert 'DefaultSampler' in faults[0]
