"""A run that goes on with other processes, another ZeRO stage or another strategy is the undisturbed run."""

from __future__ import annotations

import pytest
import torch
from launching import finish, result, start

SINGLE, DDP = 'LisaSingleDeviceStrategy', 'LisaDDPStrategy'
STEPS = (4, 24, 44)  # at the end of each leg
MICRO, GLOBAL = 2, 8
COMMON = {'max_iters': STEPS[-1], 'total_iters': STEPS[-1], 'clip': 0.5}


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
    'shrinking': [leg(2, stage=2), leg(2, DDP), leg(1, stage=2, offload='optimizer')],
}


@pytest.fixture(scope='module')
def chains(tmp_path_factory):
    """All chains, a leg each in one launch for one process and one for two; and the undisturbed run."""
    root = tmp_path_factory.mktemp('elastic')
    whole = {**COMMON, 'strategy': SINGLE, 'accumulation': GLOBAL // MICRO, 'work_dir': str(root / 'whole')}
    launches: list[tuple[int, list[dict]]] = []
    for number in range(3):
        runs: dict[int, list[dict]] = {1: [], 2: []}
        for name, legs in CHAINS.items():
            options = {**COMMON, **legs[number], 'max_iters': STEPS[number], 'work_dir': str(root / f'{name}_{number}')}
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
