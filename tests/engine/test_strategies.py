"""ZeRO 0-3, offload, DDP and the single device, on one and two processes, against a plain loop that averages gradients."""

from __future__ import annotations

import pytest
import torch
from launching import finish, result, start
from toy import ToyDataset, collate, model_of

from lisa_mm.engine import SeekableSampler

STAGES = [0, 1, 2, 3]
PLAIN = {'single': 'LisaSingleDeviceStrategy', 'ddp': 'LisaDDPStrategy'}
OFFLOADED = [(1, 'optimizer'), (2, 'optimizer'), (3, 'optimizer'), (3, 'all')]
STEPS, ACCUMULATION = 5, 2


def plain_loop(*, world_size: int, empty_rank_of: int = 0, clip: float = 1.0) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The losses and the final weights of the same micro-batches without any strategy."""
    model = model_of({})
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    dataset = ToyDataset(empty_rank_of=empty_rank_of)
    samplers = [iter(SeekableSampler(None, 2, rank=rank, world_size=world_size)) for rank in range(world_size)]
    losses = []
    for step in range(STEPS):
        # total 5 and warm-up 2, by hand
        optimizer.param_groups[0]['lr'] = 0.01 * [0, 1 / 2, 1, 2 / 3, 1 / 3][step]
        parts: dict[str, float] = {}
        for _ in range(ACCUMULATION):
            for sampler in samplers:
                batch = collate([dataset[next(sampler)] for _ in range(2)])
                found = model(**batch)
                found = {'loss': sum(found.values()), **found}
                (found['loss'] / (ACCUMULATION * world_size)).backward()
                for name, value in found.items():
                    parts[name] = parts.get(name, 0.0) + value.item() / (ACCUMULATION * world_size)
        torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(parts)
    return losses, {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def check(work_dir, expected_losses, expected_weights):
    for found, expected in zip(result(work_dir)['losses'], expected_losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    weights = torch.load(work_dir / 'final.pt')
    assert weights.keys() == expected_weights.keys()
    for name, expected in expected_weights.items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """All runs of this file, in two launches that share the two cores."""
    root = tmp_path_factory.mktemp('strategies')
    common = {'max_iters': STEPS, 'accumulation': ACCUMULATION, 'clip': 0.5}
    one = [{**common, 'work_dir': str(root / f'one_{stage}'), 'stage': stage} for stage in STAGES]
    one += [{**common, 'work_dir': str(root / f'one_{name}'), 'strategy': strategy} for name, strategy in PLAIN.items()]
    for stage, offload in OFFLOADED:
        options = {'stage': stage, 'more_strategy': {'offload': offload}}
        one.append({**common, **options, 'work_dir': str(root / f'one_{stage}_{offload}')})
    half = {'max_iters': 4, 'accumulation': ACCUMULATION, 'interval': 2, 'model': {'dropout': 0.3}}
    for stage in (0, 1, 2, 3):
        half_run = {**half, 'stage': stage, 'more_strategy': {'bf16': True}}
        one.append({**half_run, 'work_dir': str(root / f'bf16_{stage}')})
        resume = str(root / f'bf16_{stage}' / 'iter_2')
        one.append({**half_run, 'work_dir': str(root / f'bf16_{stage}_resumed'), 'resume': resume})
    two = [{**common, 'work_dir': str(root / f'two_{stage}'), 'stage': stage, 'empty_rank_of': 2} for stage in STAGES]
    for unused in (False, True):  # whether a batch without masks touches the mask head with weight 0, or not at all
        name = 'two_ddp_unused' if unused else 'two_ddp'
        options = {'strategy': PLAIN['ddp'], 'model': {'unused': unused}, 'empty_rank_of': 2}
        two.append({**common, **options, 'work_dir': str(root / name)})
    for name, resume in (('whole_ddp', False), ('resumed_ddp', str(root / 'whole_ddp' / 'iter_2'))):
        two.append({**half, 'work_dir': str(root / name), 'strategy': PLAIN['ddp'], 'resume': resume})
    for stage in STAGES:
        two.append({**half, 'work_dir': str(root / f'whole_{stage}'), 'stage': stage})
        resume = str(root / f'whole_{stage}' / 'iter_2')
        two.append({**half, 'work_dir': str(root / f'resumed_{stage}'), 'stage': stage, 'resume': resume})
    # iteration 2 begins at sample 8 = 2 processes x 2 samples x 2 accumulated; 10 and 11 are its first micro-batch on process 1
    two.append({**common, 'work_dir': str(root / 'nan'), 'stage': 2, 'nan_at': 11})
    one.append({**half, 'work_dir': str(root / 'whole_single'), 'strategy': PLAIN['single']})
    for name, strategy in PLAIN.items():
        half_run = {**half, 'strategy': strategy, 'more_strategy': {'bf16': True}}
        one.append({**half_run, 'work_dir': str(root / f'bf16_{name}')})
        one.append({**half_run, 'work_dir': str(root / f'bf16_{name}_resumed'), 'resume': str(root / f'bf16_{name}' / 'iter_2')})
    processes = [start(one), start(two, processes=2)]
    for process in processes:
        finish(process)
    return root


@pytest.fixture(scope='module')
def plain():
    losses, weights = {}, {}
    losses[1], weights[1] = plain_loop(world_size=1, clip=0.5)
    losses[2], weights[2] = plain_loop(world_size=2, clip=0.5, empty_rank_of=2)
    return losses, weights


ONE = [
    *(f'one_{stage}' for stage in STAGES),
    *(f'one_{stage}_{offload}' for stage, offload in OFFLOADED),
    'one_single',
    'one_ddp',
]


@pytest.mark.parametrize('name', ONE)
def test_one_process_equals_a_plain_loop(runs, plain, name):
    check(runs / name, plain[0][1], plain[1][1])


@pytest.mark.parametrize('stage', [*STAGES, 'ddp', 'ddp_unused'])
def test_two_processes_equal_a_plain_loop_also_when_one_has_no_masks(runs, plain, stage):
    check(runs / f'two_{stage}', plain[0][2], plain[1][2])


@pytest.mark.parametrize('stage', [*STAGES, 'ddp'])
def test_two_processes_resume_to_the_bit(runs, stage):
    assert_equal_to_the_bit(runs / f'whole_{stage}', runs / f'resumed_{stage}')


@pytest.mark.parametrize('stage', [*STAGES, *PLAIN])
def test_bfloat16_resumes_to_the_bit(runs, stage):
    assert_equal_to_the_bit(runs / f'bf16_{stage}', runs / f'bf16_{stage}_resumed')


def test_bfloat16_is_not_float32_and_parameters_stay_in_float32_without_deepspeed(runs):
    found, exact = (result(runs / name)['losses'][0]['loss'] for name in ('bf16_single', 'whole_single'))
    assert found == pytest.approx(exact, rel=0.02)
    assert found != exact
    assert {value.dtype for value in torch.load(runs / 'bf16_single' / 'final.pt').values()} == {torch.float32}


def test_nan_on_one_process_stops_all(runs):
    for rank in range(2):
        found = result(runs / 'nan', rank)
        assert len(found['losses']) == 1
        assert found['error'].startswith('NonFiniteLossError: the loss is not finite in iteration 2 (process 1: ')
        assert "samples ['sample_10', 'sample_11']" in found['error']


def assert_equal_to_the_bit(whole, resumed):
    assert result(resumed)['error'] is None
    assert result(resumed)['losses'] == result(whole)['losses'][2:]
    expected, found = torch.load(whole / 'final.pt'), torch.load(resumed / 'final.pt')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
