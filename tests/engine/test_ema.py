"""EMAWeightsHook: the average in validation and checkpoints, and its resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from safetensors.torch import load_file
from toy import ToyDataset, collate, make_config, model_of

from lisa_mm.checkpoints.folder import split_state, trained_weights
from lisa_mm.engine import LisaRunner
from lisa_mm.engine.hooks.ema_weights_hook import EMAWeightsHook
from lisa_mm.errors import CheckpointError, ConfigError, NonFiniteLossError

SINGLE = 'LisaSingleDeviceStrategy'


class Count(BaseMetric):
    """A score that falls, so that the first validation is the best."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(len(data_samples))

    def compute_metrics(self, results) -> dict[str, float]:
        Count.calls += 1
        return {'gIoU': 1.0 / Count.calls}

    calls = 0


class Watch(Hook):
    """The weights after each step, and those that each validation sees."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.steps: list[dict] = []
        self.validated: list[dict] = []
        self.losses: list[dict] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.steps.append(trained_weights(runner.strategy.module))
        self.losses.append(outputs)

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        named = split_state(runner.strategy.module)[0]
        self.validated.append({name: value.detach().clone() for name, value in named.items()})


def train(folder: Path, *, hook: dict | None, strategy: str = SINGLE, **options: Any) -> Watch:
    options = {'work_dir': str(folder), 'strategy': strategy, 'total_iters': 6, 'model': {'dropout': 0.3}, **options}
    watch = Watch()
    loader = {'dataset': ToyDataset(length=2), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}, 'batch_size': 2}
    validation = {
        'val_dataloader': {**loader, 'num_workers': 0, 'collate_fn': collate},
        'val_cfg': {},
        'val_evaluator': [Count()],
    }
    config = make_config({**options, 'more': validation})
    hooks = [{'type': 'EMAWeightsHook', **hook}] if hook is not None else []
    runner = LisaRunner(model_of(options), **config, custom_hooks=[*hooks, watch], launcher='none')
    runner.train()
    return watch


def averages(steps: list[dict], momentum: float, *, begin: int = 0, gamma: int | None = None) -> list[dict]:
    """The average after each step, by the formula."""
    found: list[dict] = []
    for number, weights in enumerate(steps):
        updates = max(0, number - max(begin - 1, 0))
        share = momentum if gamma is None else max(momentum, gamma / (gamma + updates))
        old = found[-1] if updates else weights
        found.append({name: old[name] + share * (value - old[name]) for name, value in weights.items()})
    return found


def equal(one: dict, other: dict, tolerance: float = 0.0) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[k], other[k], rtol=0, atol=tolerance) for k in one)


@pytest.mark.parametrize('hook', [{'momentum': 0.3}, {'momentum': 0.1, 'gamma': 2}, {'momentum': 0.3, 'begin_iter': 3}])
def test_validation_and_checkpoint_get_the_average(tmp_path, hook):
    plain = train(tmp_path / 'plain', hook=None, max_iters=4, train_cfg={'val_interval': 2})
    Count.calls = 0
    watch = train(tmp_path / 'ema', hook=hook, max_iters=4, train_cfg={'val_interval': 2}, save_best='gIoU')
    assert plain.losses == watch.losses  # the training itself is the same
    expected = averages(watch.steps, hook['momentum'], begin=hook.get('begin_iter', 0), gamma=hook.get('gamma'))
    assert equal(watch.validated[0], expected[1], 1e-6)
    assert equal(watch.validated[1], expected[3], 1e-6)
    assert not equal(expected[3], watch.steps[3], 1e-4)
    assert equal(load_file(tmp_path / 'ema/iter_4/weights.safetensors'), expected[3], 1e-6)
    assert equal(load_file(tmp_path / 'ema/best_gIoU_iter_2/weights.safetensors'), expected[1], 1e-6)
    assert 'frozen.weight' not in expected[3]


@pytest.mark.parametrize('cut', [2, 4])
def test_a_resumed_run_is_equal_to_the_bit(tmp_path, cut):
    hook = {'momentum': 0.3, 'begin_iter': 3, 'interval': 2}
    whole = train(tmp_path / 'whole', hook=hook, max_iters=6)
    train(tmp_path / 'cut', hook=hook, max_iters=cut)
    rest = train(tmp_path / 'cut', hook=hook, max_iters=6, resume=True)
    assert rest.losses == whole.losses[cut:]
    assert equal(rest.steps[-1], whole.steps[-1])
    ends = [load_file(tmp_path / name / 'iter_6/weights.safetensors') for name in ('whole', 'cut')]
    assert equal(*ends)


def test_resuming_without_the_hook_and_beginning_with_it(tmp_path):
    train(tmp_path / 'ema', hook={'momentum': 0.3}, max_iters=2)
    with pytest.raises(CheckpointError, match='Keep the hook in custom_hooks'):
        train(tmp_path / 'ema', hook=None, max_iters=4, resume=True)
    train(tmp_path / 'plain', hook=None, max_iters=2)
    watch = train(tmp_path / 'plain', hook={'momentum': 0.3}, max_iters=4, resume=True)
    expected = averages(watch.steps, 0.3)
    assert equal(load_file(tmp_path / 'plain/iter_4/weights.safetensors'), expected[-1], 1e-6)
    assert 'the checkpoint holds no average' in ''.join(path.read_text() for path in (tmp_path / 'plain').rglob('*.log'))
    # load_from begins from the average
    averaged = load_file(tmp_path / 'ema/iter_2/weights.safetensors')
    started = train(
        tmp_path / 'new', hook=None, max_iters=1, train_cfg={'val_at_start': True}, load_from=str(tmp_path / 'ema/iter_2')
    )
    assert equal(started.validated[0], averaged)


def test_what_cannot_be_averaged(tmp_path):
    for wrong in ({'momentum': 0}, {'momentum': 1.0}, {'interval': 0}, {'begin_iter': -1}, {'gamma': 0}):
        with pytest.raises(ConfigError, match='0 < momentum < 1'):
            EMAWeightsHook(**wrong)
    assert not EMAWeightsHook.strategy_faults({'type': 'LisaDeepSpeedStrategy', 'zero_stage': 2})
    (fault,) = EMAWeightsHook.strategy_faults({'type': 'LisaDeepSpeedStrategy', 'zero_stage': 3})
    assert 'give zero_stage=2' in fault
    with pytest.raises(ConfigError, match='leave out priority'):
        train(tmp_path, hook={'priority': 'LOWEST'}, max_iters=1)


def test_what_a_hook_adds_to_a_checkpoint_comes_back(tmp_path):
    class Keeper(Hook):
        back: Any = None

        def before_save_checkpoint(self, runner, checkpoint) -> None:
            checkpoint['mine'] = value

        def after_load_checkpoint(self, runner, checkpoint) -> None:
            self.back = checkpoint['mine']

    def run(**options: Any) -> Keeper:
        options = {'work_dir': str(tmp_path), 'strategy': SINGLE, **options}
        keeper = Keeper()
        LisaRunner(model_of(options), **make_config(options), custom_hooks=[keeper], launcher='none').train()
        return keeper

    value: Any = {'a': [1, torch.ones(2)]}
    run(max_iters=1)
    assert str(run(max_iters=2, resume=True).back) == str(value)
    value = {'path': Path('x')}
    with pytest.raises(ConfigError, match=r"checkpoint\['mine'\]\['path'\] of type PosixPath"):
        run(max_iters=3, resume=True)


def test_a_hook_saves_other_values_in_a_weights_place(tmp_path):
    class Rounding(Hook):
        work: Any = staticmethod(lambda weights, checkpoint: weights.update({'head.bias': weights['head.bias'] + 1}))

        def before_save_checkpoint(self, runner, checkpoint) -> None:
            self.work(checkpoint['state_dict'], checkpoint)

        def after_load_checkpoint(self, runner, checkpoint) -> None:
            weights = checkpoint['state_dict']
            weights['head.bias'] = weights['head.bias'] - 1

    def run(hook: Hook | None, **options: Any) -> LisaRunner:
        options = {'work_dir': str(tmp_path), 'strategy': SINGLE, 'total_iters': 3, **options}
        runner = LisaRunner(model_of(options), **make_config(options), custom_hooks=[hook] if hook else [], launcher='none')
        runner.train()
        return runner

    first = run(Rounding(), max_iters=1)
    own = trained_weights(first.strategy.module)
    saved = load_file(tmp_path / 'iter_1' / 'weights.safetensors')
    assert torch.equal(saved['head.bias'], own['head.bias'] + 1)
    assert all(torch.equal(saved[name], own[name]) for name in own if name != 'head.bias')
    resumed = trained_weights(run(Rounding(), max_iters=1, resume=True).strategy.module)
    assert torch.allclose(resumed['head.bias'], own['head.bias'], atol=1e-6)
    for work, words in (
        (
            lambda weights, _: weights.update(mine=torch.ones(2)),
            "put 'mine' into checkpoint.'state_dict'., and the model does not",
        ),
        (lambda weights, _: weights.update({'head.bias': torch.ones(7)}), r"the weight 'head.bias' of shape \(3,\) values of"),
        (lambda weights, _: weights.pop('head.bias'), "removed 'head.bias' from checkpoint"),
        (lambda weights, checkpoint: checkpoint.update(state_dict=dict(weights)), 'another object in place of checkpoint'),
    ):
        hook = Rounding()
        hook.work = work
        with pytest.raises(ConfigError, match=words):
            run(hook, max_iters=1)
    hook = Rounding()
    hook.work = lambda weights, _: weights.update({'head.bias': weights['head.bias'] / 0})
    with pytest.raises(NonFiniteLossError, match='not saved: 1 trained tensors are not finite'):
        run(hook, max_iters=1)
    assert not list(tmp_path.glob('.tmp*'))


def program(folder: str) -> None:
    """With several strategies in a process of its own: prints whether all is as it must be."""
    results = {}
    for name, strategy, more in (
        ('ddp', 'LisaDDPStrategy', {}),
        ('zero2_bf16', 'LisaDeepSpeedStrategy', {'bf16': True}),
    ):
        half = name.endswith('bf16')
        common = {'strategy': strategy, 'more_strategy': more, 'train_cfg': {'val_interval': 2}, 'hook': {'momentum': 0.3}}
        whole = train(Path(folder) / name, max_iters=4, **common)
        train(Path(folder) / f'{name}_cut', max_iters=2, **common)
        rest = train(Path(folder) / f'{name}_cut', max_iters=4, resume=True, **common)
        expected = averages(whole.steps, 0.3)  # of the float32 copies
        seen = {key: value.float() for key, value in whole.validated[0].items()}
        ends = [load_file(Path(folder) / run / 'iter_4/weights.safetensors') for run in (name, f'{name}_cut')]
        results[name] = {
            'validated': equal(seen, expected[1], 5e-3 if half else 1e-6),
            'in half': half == any(value.dtype == torch.bfloat16 for value in whole.validated[0].values()),
            'saved': equal(ends[0], expected[3], 1e-6),
            'resumed': rest.losses == whole.losses[2:] and equal(rest.steps[-1], whole.steps[-1]) and equal(*ends),
        }
    print('RESULTS', json.dumps(results))


@pytest.mark.slow
def test_ddp_and_deepspeed(tmp_path):
    run = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=300)
    lines = [line for line in run.stdout.splitlines() if line.startswith('RESULTS')]
    assert lines, run.stderr[-3000:]
    results = json.loads(lines[0].removeprefix('RESULTS'))
    assert all(all(checks.values()) for checks in results.values()), results


if __name__ == '__main__':
    program(sys.argv[1])
