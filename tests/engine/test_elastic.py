"""A run that goes on with other processes, another ZeRO stage or another strategy is the undisturbed run."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from launching import finish, result, start
from mmengine.hooks import Hook
from safetensors.torch import load_file
from toy import ToyModel, make_config, model_of

from lisa_mm.checkpoints.folder import model_weights, read_meta, trained_weights, write_weights
from lisa_mm.engine import LisaRunner
from lisa_mm.engine.strategies import LisaDeepSpeedStrategy
from lisa_mm.errors import CheckpointError

SINGLE, DDP = 'LisaSingleDeviceStrategy', 'LisaDDPStrategy'
STEPS = (4, 24, 44)  # at the end of each leg
MICRO, GLOBAL = 2, 8
COMMON = {'max_iters': STEPS[-1], 'total_iters': STEPS[-1], 'clip': 0.5}


def wrapper(**optimizer: object) -> dict:
    """Two parameter groups, which DeepSpeed keeps apart."""
    return {'optimizer': optimizer, 'paramwise_cfg': {'custom_keys': {'embedding': {'lr_mult': 0.5}}}}


ADAMW = {'type': 'AdamW', 'lr': 0.01, 'betas': (0.9, 0.95), 'weight_decay': 0.0}
COMMON['more'] = {'optim_wrapper': wrapper(**ADAMW)}


def leg(processes: int, strategy: str | None = None, stage: int = 2, offload: str | None = None) -> dict:
    chosen = {'strategy': strategy} if strategy else {'stage': stage, 'more_strategy': {'offload': offload}}
    return {**chosen, 'processes': processes, 'accumulation': GLOBAL // MICRO // processes}


CHAINS = {
    'ddp': [leg(1, DDP), leg(2, DDP), leg(1, DDP)],
    'zero_1': [leg(1, stage=1), leg(2, stage=1), leg(1, stage=1)],
    'zero_2': [leg(1, stage=2), leg(2, stage=2), leg(1, stage=2)],
    'zero_3': [leg(1, stage=3), leg(2, stage=3), leg(1, stage=3)],
    '1_to_3_to_single': [leg(1, stage=1), leg(2, stage=3), leg(1, SINGLE)],
    'single_to_offloaded_to_0': [leg(1, SINGLE), leg(2, stage=3, offload='all'), leg(1, stage=0)],
    'offloaded_to_ddp': [leg(1, stage=2, offload='optimizer'), leg(2, DDP), leg(1, stage=2)],
}


EMA = {'type': 'EMAWeightsHook', 'momentum': 0.1}
AVERAGED = [name for name, legs in CHAINS.items() if all(one.get('stage') != 3 for one in legs)]  # ZeRO-3 is refused


@pytest.fixture(scope='module')
def chains(tmp_path_factory):
    """All chains, a leg each in one launch for one process and one for two; and the undisturbed run."""
    root = tmp_path_factory.mktemp('elastic')
    whole = {**COMMON, 'hooks': [EMA], 'strategy': SINGLE, 'accumulation': GLOBAL // MICRO, 'work_dir': str(root / 'whole')}
    launches: list[tuple[int, list[dict]]] = []
    for number in range(3):
        runs: dict[int, list[dict]] = {1: [], 2: []}
        for name, legs in CHAINS.items():
            options = {**COMMON, **legs[number], 'max_iters': STEPS[number], 'work_dir': str(root / f'{name}_{number}')}
            options['hooks'] = [EMA] if name in AVERAGED else []
            if number:
                options['resume'] = str(root / f'{name}_{number - 1}')
            runs[options.pop('processes')].append(options)
        launches += [(processes, options) for processes, options in runs.items() if options]
    launches[0][1].append(whole)
    for processes, options in launches:
        finish(start(options, processes=0 if processes == 1 else processes))
    return root


def consumed(folder, processes: int) -> list[int]:
    """The samples of all processes in the order of micro-batches."""
    ranks = [result(folder, rank)['samples'] for rank in range(processes)]
    batches = range(0, len(ranks[0]), MICRO)
    return [sample for first in batches for samples in ranks for sample in samples[first : first + MICRO]]


@pytest.mark.slow
@pytest.mark.parametrize('name', CHAINS)
def test_a_chain_of_divisions_is_the_undisturbed_run(chains, name):
    undisturbed = result(chains / 'whole')['losses']
    samples, losses = [], []
    for number, one in enumerate(CHAINS[name]):
        found = result(chains / f'{name}_{number}')
        assert found['error'] is None
        losses += found['losses']
        samples += consumed(chains / f'{name}_{number}', one['processes'])
    assert samples == list(range(STEPS[-1] * GLOBAL))
    assert len(losses) == len(undisturbed) == STEPS[-1]
    for step, (one, expected) in enumerate(zip(losses, undisturbed, strict=True)):
        assert one == pytest.approx(expected, rel=1e-5), step
    weights, expected = torch.load(chains / f'{name}_2' / 'final.pt'), torch.load(chains / 'whole' / 'final.pt')
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-6)
    if name in AVERAGED:
        average, expected = (
            load_file(chains / run / f'iter_{STEPS[-1]}' / 'weights.safetensors') for run in (f'{name}_2', 'whole')
        )
        for key, value in expected.items():
            torch.testing.assert_close(average[key], value, rtol=1e-4, atol=1e-6)
            assert not torch.allclose(value, weights[key], rtol=1e-3)


EVERYWHERE = [
    {'strategy': SINGLE},
    *({'stage': stage} for stage in (0, 1, 2, 3)),
    *({'stage': stage, 'more_strategy': {'bf16': True}} for stage in (0, 1, 2, 3)),
    *({'stage': 3, 'more_strategy': {'offload': kind}} for kind in ('optimizer', 'all')),
]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Of a single device, after 3 steps."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    runner({'work_dir': str(work_dir), 'max_iters': 3, 'interval': 1})
    return work_dir / 'iter_3'


def runner(options: dict) -> LisaRunner:
    """In this process; a single device unless there is a stage."""
    place = {} if 'stage' in options else {'strategy': SINGLE}
    options = {**place, 'total_iters': 9, 'accumulation': 1, **options}
    options['more'] = {'optim_wrapper': wrapper(**ADAMW), **options.get('more', {})}
    made = LisaRunner(model_of(options), **make_config(options))
    made.train()
    return made


@pytest.mark.parametrize('options', EVERYWHERE, ids=str)
def test_weights_and_moments_arrive_everywhere_to_the_bit(checkpoint, tmp_path, options):
    made = runner({**options, 'work_dir': str(tmp_path), 'max_iters': 3, 'resume': str(checkpoint)})
    assert made.resumed
    saved = load_file(checkpoint / 'state' / 'optimizer.safetensors')
    tensors = made.strategy.optimizer_tensors()
    assert {name: info.shape for name, info in tensors.info().items()} == {name: tuple(v.shape) for name, v in saved.items()}
    assert all(torch.equal(tensors.read(name), value) for name, value in saved.items())
    # as the next checkpoint would hold them: the float32 copies where the parameters are in bfloat16
    weights = model_weights(made.strategy.module, made.strategy.master_weights)
    digest = write_weights(tmp_path, weights)
    assert (digest, weights.broken) == (read_meta(checkpoint)['weights_sha256'], [])


@pytest.mark.parametrize('options', [one for one in EVERYWHERE if one.get('stage') != 3], ids=str)
def test_an_average_arrives_beside_the_weights_to_the_bit(tmp_path, options):
    hooks = {'more': {'custom_hooks': [EMA]}}
    runner({**hooks, 'work_dir': str(tmp_path / 'before'), 'max_iters': 3})
    before = tmp_path / 'before' / 'iter_3'
    made = runner({**hooks, **options, 'work_dir': str(tmp_path), 'max_iters': 3, 'resume': str(before)})
    kept = torch.load(before / 'state' / 'common.pt')['hooks']['ema']
    weights = model_weights(made.strategy.module, made.strategy.master_weights)
    assert all(torch.equal(weights[name], value) for name, value in kept['weights'].items())
    made.save_checkpoint_folder('again', iteration=3)
    assert read_meta(tmp_path / 'again')['weights_sha256'] == read_meta(before)['weights_sha256']
    again = torch.load(tmp_path / 'again' / 'state' / 'common.pt')['hooks']['ema']
    assert again['updates'] == kept['updates'] == 3
    assert all(torch.equal(again['weights'][name], value) for name, value in kept['weights'].items())
    assert len(kept['weights']) == len(weights)


OPTIMIZERS = [
    {'type': 'AdamW', 'lr': 0.01, 'amsgrad': True},
    {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9},
    {'type': 'NAdam', 'lr': 0.01},
    {'type': 'torch.optim.Adafactor', 'lr': 0.01},
]


@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=lambda optimizer: optimizer['type'])
def test_other_optimizers_resume_to_the_bit_and_elementwise_ones_elsewhere_too(tmp_path, optimizer):
    if optimizer['type'].startswith('torch.'):
        optimizer = {**optimizer, 'type': torch.optim.Adafactor}
    more = {'more': {'optim_wrapper': wrapper(**optimizer)}, 'max_iters': 4, 'interval': 2}
    for number, place in enumerate(({'strategy': SINGLE}, {'stage': 2})):
        whole = runner({**more, **place, 'work_dir': str(tmp_path / f'whole_{number}')})
        from_2 = {**more, 'resume': str(tmp_path / f'whole_{number}' / 'iter_2')}
        resumed = runner({**from_2, **place, 'work_dir': str(tmp_path / f'resumed_{number}')})
        expected = trained_weights(whole.strategy.module)
        found = trained_weights(resumed.strategy.module)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        other = {**from_2, **({'strategy': SINGLE} if number else {'stage': 3}), 'work_dir': str(tmp_path / f'other_{number}')}
        if optimizer['type'] is torch.optim.Adafactor:
            with pytest.raises(CheckpointError, match=r'Adafactor cannot go from one to the other: .* Use the same ones'):
                runner(other)
            continue
        for name, value in trained_weights(runner(other).strategy.module).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)


def test_steps_that_zero_counts_together_must_be_equal(tmp_path):
    options = {'model': {'unused': True}, 'empty_rank_of': 2, 'max_iters': 2, 'interval': 2}
    runner({**options, 'work_dir': str(tmp_path / 'run')})
    again = {**options, 'max_iters': 3, 'resume': str(tmp_path / 'run')}
    assert runner({**again, 'work_dir': str(tmp_path / 'single')}).iter == 3
    with pytest.raises(CheckpointError, match=r'step of head.weight is 2 and that of mask_head.weight is 1: .* LisaDDPStrategy'):
        runner({**again, 'work_dir': str(tmp_path / 'zero'), 'stage': 1})


def test_another_batch_repeats_no_sample_and_is_told(checkpoint, tmp_path):
    for options, message in (
        ({'accumulation': 3, 'batch_size': 5}, 'a step sees another number of samples'),
        ({'accumulation': 2, 'batch_size': 1}, 'losses and gradients differ a little'),
        ({'stage': 2}, None),
    ):
        work_dir = tmp_path / str(len(list(tmp_path.iterdir())))
        made = runner({**options, 'work_dir': str(work_dir), 'max_iters': 5, 'interval': 5, 'resume': str(checkpoint)})
        step = made.strategy.samples_per_step
        assert made.train_dataloader.dataset.seen == list(range(6, 6 + 2 * step))
        assert read_meta(work_dir / 'iter_5')['samples'] == 6 + 2 * step
        log = ''.join(path.read_text() for path in work_dir.rglob('*.log'))
        assert log.count('No sample is repeated or left out') == (message is not None)
        assert message is None or message in log


@pytest.fixture
def damaged(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / 'iter_3')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda path: path.unlink(), r'optimizer.safetensors cannot be read \(No such file.*Use another checkpoint.*load_from='),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r'cannot be read .*damaged or incomplete.*load_from='),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b'\x00'), r'its sha256 differs from meta.json.*load_from='),
        (lambda path: path.write_bytes(b''), r'cannot be read .*damaged or incomplete.*load_from='),
    ],
    ids=['missing', 'cut off', 'flipped', 'empty'],
)
def test_missing_and_damaged_moments_are_refused(damaged, tmp_path, change, message):
    change(damaged / 'state' / 'optimizer.safetensors')
    with pytest.raises(CheckpointError, match=message):
        runner({'work_dir': str(tmp_path / 'run'), 'resume': str(damaged)})


def test_a_state_of_an_earlier_version_is_refused(damaged, tmp_path):
    torch.save({'param_schedulers': None, 'message_hub': None}, damaged / 'state' / 'common.pt')
    with pytest.raises(CheckpointError, match=r'written by an earlier version.*load_from='):
        runner({'work_dir': str(tmp_path / 'run'), 'resume': str(damaged)})


def test_another_optimizer_is_refused(checkpoint, tmp_path):
    more = {'more': {'optim_wrapper': wrapper(type='SGD', lr=0.1)}}
    with pytest.raises(CheckpointError, match=r"state of torch.optim.adamw.AdamW; .* is torch.optim.sgd.SGD. Set .* to 'AdamW'"):
        runner({**more, 'work_dir': str(tmp_path / 'run'), 'resume': str(checkpoint)})


@pytest.mark.parametrize('strategy', [{'strategy': SINGLE}, {'stage': 3}])
def test_other_trained_parameters_are_refused_by_name(checkpoint, tmp_path, monkeypatch, strategy):
    def other(options: dict) -> torch.nn.Module:
        model = ToyModel()
        model.mask_head.requires_grad_(False)
        model.frozen.bias.requires_grad_(True)
        return model

    monkeypatch.setitem(globals(), 'model_of', other)
    message = (
        'the checkpoint trained 2 that this run does not: mask_head.bias, mask_head.weight; '
        'this run trains 1 that the checkpoint did not: frozen.bias'
    )
    with pytest.raises(CheckpointError, match=message):
        runner({**strategy, 'work_dir': str(tmp_path / 'run'), 'resume': str(checkpoint)})


def test_changed_settings_of_the_optimizer_are_told(checkpoint, tmp_path):
    more = {'optim_wrapper': wrapper(**{**ADAMW, 'lr': 0.02, 'weight_decay': 0.5})}
    made = runner({'more': more, 'work_dir': str(tmp_path), 'max_iters': 4, 'resume': str(checkpoint)})
    log = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert "with the checkpoint's settings, not the config's: weight_decay 0.5 -> 0.0" in log
    assert made.strategy.optimizer_tensors().optimizer.param_groups[0]['weight_decay'] == 0.0


def test_float16s_loss_scale_comes_back():
    """Without a GPU there is no float16 training, but its scaler is plain Python."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    def strategy_with(scaler: object, fp16: bool) -> LisaDeepSpeedStrategy:
        strategy = LisaDeepSpeedStrategy.__new__(LisaDeepSpeedStrategy)
        strategy.config = {'fp16': {'enabled': fp16}}
        strategy.model = SimpleNamespace(model=SimpleNamespace(optimizer=SimpleNamespace(loss_scaler=scaler)))
        return strategy

    settings = {'init_scale': 2**16, 'scale_window': 3, 'min_scale': 1, 'delayed_shift': 2, 'consecutive_hysteresis': False}
    used, fresh = DynamicLossScaler(**settings), DynamicLossScaler(**settings)
    used.cur_scale, used.cur_hysteresis, used.cur_iter, used.last_overflow_iter = 1024.0, 1, 9, 7
    state = strategy_with(used, True).loss_scale()
    strategy_with(fresh, True).restore_loss_scale(state)
    assert vars(fresh) == vars(used)
    assert strategy_with(used, False).loss_scale() is None
    strategy_with(fresh, True).restore_loss_scale(None)  # from bfloat16: its own scale
    assert vars(fresh) == vars(used)


def test_a_hooks_state_comes_back(tmp_path):
    class Counting(Hook):
        def __init__(self) -> None:
            self.state = {'average': torch.zeros(2), 'steps': 0}

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.state = {'average': self.state['average'] + 1, 'steps': self.state['steps'] + 1}

        def before_save_checkpoint(self, runner, checkpoint) -> None:
            checkpoint['counting'] = self.state

        def after_load_checkpoint(self, runner, checkpoint) -> None:
            self.state = checkpoint['counting']

    hooks = [Counting(), Counting()]
    for number, hook in enumerate(hooks):
        options = {'work_dir': str(tmp_path / str(number)), 'max_iters': 2 + number, 'interval': 2}
        runner({**options, 'resume': str(tmp_path / '0') if number else False, 'more': {'custom_hooks': [hook]}})
    assert hooks[1].state['steps'] == 3
    assert hooks[1].state['average'].tolist() == [3, 3]
