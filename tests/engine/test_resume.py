"""Killed and resumed runs equal an uninterrupted one, bit for bit; checkpoints that do not fit are refused."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from launching import finish, result, start
from toy import main, make_config, model_of

from lisa_mm.checkpoints.folder import describe_frozen, find_checkpoint, load_weights, read_meta
from lisa_mm.engine import LisaRunner
from lisa_mm.errors import CheckpointError

SINGLE = 'LisaSingleDeviceStrategy'
RUN = {'max_iters': 9, 'accumulation': 2, 'interval': 2, 'model': {'dropout': 0.3}, 'num_workers': 1}


@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    """Runs that are killed, at three random steps and while iter_6 is being written; resumed; and uninterrupted ones."""
    root = tmp_path_factory.mktemp('resume')
    at = random.sample(range(3, 9), 3)
    print(f'killed at {at}')
    runs = [
        {**RUN, 'work_dir': str(root / 'step_0'), 'strategy': SINGLE, 'kill_at': at[0]},
        {**RUN, 'work_dir': str(root / 'step_1'), 'stage': 2, 'kill_at': at[1]},
        {**RUN, 'work_dir': str(root / 'step_2'), 'stage': 3, 'kill_at': at[2]},
        {**RUN, 'work_dir': str(root / 'saving'), 'stage': 1, 'kill_in_save': 6},
    ]
    finish(start(runs))
    state = {
        'leftovers': [path.name for path in (root / 'saving').glob('.tmp_*')],
        'pointer': (root / 'saving' / 'last_checkpoint').read_text().strip(),
        'found': find_checkpoint(root / 'saving').name,
    }
    again = [{**{key: value for key, value in run.items() if not key.startswith('kill')}, 'resume': True} for run in runs]
    whole = [{**run, 'work_dir': run['work_dir'] + '_whole', 'resume': False} for run in again]
    finish(start([*again, *whole]))
    return root, state


@pytest.mark.slow
@pytest.mark.parametrize('name', ['step_0', 'step_1', 'step_2', 'saving'])
def test_a_killed_run_resumes_to_the_bit(killed, name):
    root, _ = killed
    resumed, whole = root / name, root / f'{name}_whole'
    assert 0 < len(result(resumed)['losses']) < RUN['max_iters'] == len(result(whole)['losses'])
    assert result(resumed)['losses'] == result(whole)['losses'][-len(result(resumed)['losses']) :]
    expected, found = torch.load(whole / 'final.pt'), torch.load(resumed / 'final.pt')
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.slow
def test_what_a_kill_while_saving_leaves(killed):
    root, state = killed
    assert state == {'leftovers': ['.tmp_iter_6'], 'pointer': 'iter_4', 'found': 'iter_4'}
    # removed by the resumed run, which then wrote all of it; two checkpoints stay
    assert not list((root / 'saving').glob('.tmp_*'))
    assert sorted(path.name for path in (root / 'saving').glob('iter_*')) == ['iter_8', 'iter_9']
    assert find_checkpoint(root / 'saving').name == 'iter_9'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished run of 4 steps in this process."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    main({'work_dir': str(work_dir), 'strategy': SINGLE, 'max_iters': 4, 'interval': 2, 'save_best': None})
    return work_dir


@pytest.fixture
def checkpoint(trained, tmp_path):
    """A copy of its last checkpoint to damage."""
    return shutil.copytree(trained / 'iter_4', tmp_path / 'iter_4')


def run(options: dict) -> LisaRunner:
    options = {'strategy': SINGLE, 'max_iters': 4, **options}
    runner = LisaRunner(model_of(options), **make_config(options))
    runner.train()
    return runner


def test_what_a_checkpoint_holds(trained):
    folder = trained / 'iter_4'
    ledger = ['trained_on.json', 'trained_on.npy']
    assert sorted(path.name for path in folder.iterdir()) == ['frozen.json', 'meta.json', 'state', *ledger, 'weights.safetensors']
    assert sorted(json.loads((folder / 'frozen.json').read_text())) == ['frozen.bias', 'frozen.weight']
    meta = read_meta(folder)
    assert (meta['iter'], meta['world_size'], meta['zero_stage'], meta['seed']) == (4, 1, None, 3)


def test_equal_runs_write_equal_states(trained, tmp_path):
    main({'work_dir': str(tmp_path / 'run'), 'strategy': SINGLE, 'max_iters': 4, 'interval': 2, 'save_best': None})
    again = tmp_path / 'run' / 'iter_4'
    names = [path.relative_to(again) for path in again.rglob('*') if path.is_file() and path.name != 'meta.json']
    assert len(names) >= 4
    for name in names:
        assert (trained / 'iter_4' / name).read_bytes() == (again / name).read_bytes(), name


def test_weights_load_into_a_fresh_model(trained):
    model = model_of({})
    load_weights(model, trained)
    expected = torch.load(trained / 'final.pt')
    assert all(torch.equal(value, expected[name]) for name, value in model.named_parameters() if value.requires_grad)


@pytest.mark.parametrize('stage', [None, 0, 2, 3])
def test_load_from_begins_with_the_weights_and_keeps_them_over_a_step(trained, tmp_path, stage):
    # warm-up: the first step has lr 0, so the weights after one iteration are the loaded ones
    strategy = {} if stage is None else {'strategy': 'LisaDeepSpeedStrategy', 'stage': stage}
    main(
        {
            'work_dir': str(tmp_path / 'run'),
            'max_iters': 1,
            'total_iters': 9,
            'load_from': str(trained),
            'strategy': SINGLE,
            **strategy,
        }
    )
    expected, found = torch.load(trained / 'final.pt'), torch.load(tmp_path / 'run' / 'final.pt')
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_longer_run_resumes_on_its_own_schedule(trained, tmp_path):
    runner = run({'work_dir': str(tmp_path / 'run'), 'max_iters': 8, 'resume': str(trained / 'iter_4')})
    lr = list(runner.message_hub.get_scalar('train/lr').data[0])
    # warm-up 2, then down to 0 at 4; from the 5th step on down to 0 at 8
    assert lr == pytest.approx([0, 0.005, 0.01, 0.005, *[0.01 * (8 - step) / 6 for step in (4, 5, 6, 7)]])


def test_a_named_checkpoint_is_resumed_also_where_the_config_has_load_from(trained, tmp_path):
    """As ``tools/train.py CONFIG --resume CHECKPOINT`` with a config that began from a published model."""
    runner = run({'work_dir': str(tmp_path / 'run'), 'load_from': str(trained), 'resume': str(trained / 'iter_2')})
    assert runner.resumed
    expected = torch.load(trained / 'final.pt')
    assert all(torch.equal(value, expected[name]) for name, value in runner.model.named_parameters() if value.requires_grad)


def test_resume_true_prefers_the_work_folder_to_load_from(trained, tmp_path):
    options = {'work_dir': str(tmp_path / 'run'), 'load_from': str(trained), 'resume': True, 'interval': 1, 'total_iters': 9}
    assert not run({**options, 'max_iters': 1}).resumed
    again = run({**options, 'max_iters': 2})
    assert again.resumed
    assert len(again.message_hub.get_scalar('train/lr').data[0]) == 2


def test_resume_true_in_an_empty_work_folder_begins(tmp_path):
    assert run({'work_dir': str(tmp_path / 'run'), 'max_iters': 1, 'resume': True}).iter == 1


@pytest.mark.parametrize('keep', [0, 7, 200, -1])
def test_cut_off_weights_are_refused(checkpoint, keep):
    path = checkpoint / 'weights.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r'cannot be read .*damaged or incomplete'):
        load_weights(model_of({}), checkpoint)


def test_a_flipped_bit_is_refused(checkpoint):
    path = checkpoint / 'weights.safetensors'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match='sha256 differs'):
        load_weights(model_of({}), checkpoint)


@pytest.mark.parametrize('name', ['rank_0.pt', 'common.pt'])
def test_a_cut_off_state_is_refused(checkpoint, tmp_path, name):
    path = checkpoint / 'state' / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f'{name} cannot be read'):
        run({'work_dir': str(tmp_path / 'run'), 'resume': str(checkpoint)})


def test_a_state_that_would_run_code_is_refused(checkpoint, tmp_path):
    torch.save({'optimizer': _Malicious(str(tmp_path / 'harm'))}, checkpoint / 'state' / 'rank_0.pt')
    with pytest.raises(CheckpointError, match='cannot be read'):
        run({'work_dir': str(tmp_path / 'run'), 'resume': str(checkpoint)})
    assert not (tmp_path / 'harm').exists()


def test_a_damaged_meta_is_refused(checkpoint):
    (checkpoint / 'meta.json').write_text('{"iter": ')
    with pytest.raises(CheckpointError, match=r'meta\.json cannot be read'):
        load_weights(model_of({}), checkpoint)


def test_another_model_is_refused_with_every_difference(checkpoint):
    model = model_of({'model': {'width': 4}})
    model.extra = torch.nn.Linear(2, 2)
    del model.mask_head
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, checkpoint)
    text = str(caught.value)
    assert 'missing: the model trains 2 that the checkpoint does not hold: extra.bias, extra.weight' in text
    assert 'unexpected: the checkpoint holds 2 that the model does not train: mask_head.bias, mask_head.weight' in text
    assert 'embedding.weight (checkpoint (16, 8), model (16, 4))' in text


def test_another_frozen_part_is_refused(checkpoint):
    with pytest.raises(
        CheckpointError, match='the frozen frozen is another one than the checkpoint was trained on: 2 tensors differ'
    ):
        load_weights(model_of({'model': {'frozen_seed': 2}}), checkpoint)
    load_weights(model_of({'model': {'frozen_seed': 2}}), checkpoint, check_frozen=False)


def test_a_frozen_part_in_bfloat16_is_the_same_one(checkpoint):
    model = model_of({})
    model.frozen.bfloat16()
    assert list(describe_frozen(model)['frozen.weight']['sha256']) == ['bfloat16']
    load_weights(model, checkpoint)


def test_a_checkpoint_kept_for_its_score_cannot_be_resumed(checkpoint, tmp_path):
    (checkpoint / 'meta.json').write_text(json.dumps({**read_meta(checkpoint), 'resumable': False}))
    with pytest.raises(CheckpointError, match=r'holds no state to resume from .*load_from='):
        run({'work_dir': str(tmp_path / 'run'), 'resume': str(checkpoint)})


def test_finding_a_checkpoint(trained, tmp_path):
    assert find_checkpoint(trained).name == 'iter_4'
    assert find_checkpoint(trained / 'iter_2').name == 'iter_2'
    assert find_checkpoint(trained / 'iter_2' / 'weights.safetensors').name == 'iter_2'
    with pytest.raises(CheckpointError, match='does not exist'):
        find_checkpoint(tmp_path / 'nowhere')
    with pytest.raises(CheckpointError, match=r'holds no checkpoint: looked for weights\.safetensors'):
        find_checkpoint(tmp_path)
    # a pointer to what is gone: the newest complete one
    work_dir = shutil.copytree(trained, tmp_path / 'copy')
    shutil.rmtree(work_dir / 'iter_4')
    assert find_checkpoint(work_dir).name == 'iter_2'


class _Malicious:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')
