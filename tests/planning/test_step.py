"""What strategies keep, against numbers by hand and DeepSpeed's own defaults."""

from __future__ import annotations

import pytest
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

from lisa_mm.engine.strategies import LisaDDPStrategy, MemoryPlan
from lisa_mm.engine.strategies.base import FolderCheckpointMixin
from lisa_mm.engine.strategies.memory_plan import MemoryUnknownError
from lisa_mm.errors import ConfigError
from lisa_mm.planning.plans import plan_of, savings_of
from lisa_mm.planning.step import adam_temporaries, step_memory
from lisa_mm.planning.trace import Gradient, Trace
from lisa_mm.registry import STRATEGIES

MILLION = 1_000_000


def trace(*trained: int, unit: int = 2, frozen: int = 0, activations: int = 0) -> Trace:
    """A micro-batch whose gradients come one after the other, last parameter first."""
    gradients = []
    left = activations
    for number in reversed(range(len(trained))):
        size = trained[number] * unit
        gradients.append(Gradient(number, left + size, left + size))
        left -= activations // len(trained)
    return Trace(trained, (frozen,), unit, 0, 0, 0, 0, activations, activations, tuple(gradients), 0)


def test_defaults_are_deepspeeds():
    ours, theirs = MemoryPlan(3), DeepSpeedZeroConfig(stage=3)  # pyright: ignore[reportCallIssue] - all have defaults
    assert ours.bucket == theirs.reduce_bucket_size
    assert ours.prefetch == theirs.prefetch_bucket_size
    assert ours.reuse_distance == theirs.max_reuse_distance
    strategy = {'type': 'LisaDeepSpeedStrategy'}
    for stage in (1, 2, 3):
        made = plan_of({**strategy, 'zero_stage': stage}, processes=2, micro_batch=1)
        assert made.overlap == DeepSpeedZeroConfig(stage=stage).overlap_comm  # pyright: ignore[reportCallIssue] - all have defaults


@pytest.mark.parametrize(('processes', 'optimizer'), [(1, 12), (2, 6), (8, 1.5)])
@pytest.mark.parametrize('stage', [1, 2, 3])
def test_weights_and_moments_are_divided(stage, processes, optimizer):
    memory = step_memory(trace(8 * MILLION, 8 * MILLION), MemoryPlan(stage, processes=processes, half=True, bucket=MILLION))
    assert memory.optimizer == optimizer * 16 * MILLION
    assert memory.parameters_trained == (2 * 16 * MILLION if stage < 3 else 2 * 16 * MILLION // processes)


@pytest.mark.parametrize(('stage', 'optimizer'), [(None, 8), (0, 8), (1, 12), (2, 12), (3, 8)])
def test_master_weights_beside_float32_parameters(stage, optimizer):
    # stages 1 and 2 keep a copy of float32 parameters too; stage 3 uses them as they are
    memory = step_memory(trace(4 * MILLION, unit=4), MemoryPlan(stage, bucket=MILLION))
    assert memory.optimizer == optimizer * 4 * MILLION


def test_frozen_parameters_are_divided_in_stage_3_only():
    for stage, share in ((0, 1), (1, 1), (2, 1), (3, 4)):
        memory = step_memory(trace(MILLION, frozen=40 * MILLION), MemoryPlan(stage, processes=4, half=True, bucket=MILLION))
        assert memory.parameters_frozen == 2 * 40 * MILLION // share


def test_the_whole_step_of_one_device_by_hand():
    memory = step_memory(
        trace(3 * MILLION, MILLION, unit=4, frozen=2 * MILLION, activations=10 * MILLION), MemoryPlan(None, device='cpu')
    )
    # 6 M parameters of 4 bytes, two moments of the 4 M trained ones
    always = 4 * 6 * MILLION + 8 * 4 * MILLION
    # the second gradient (3 M) while the first (1 M) is kept and half of the activations are left
    assert memory.forward_backward == always + 4 * MILLION + 5 * MILLION + 12 * MILLION
    # all gradients, and twice the largest parameter
    assert memory.step == always + 16 * MILLION + 24 * MILLION
    assert memory.peak == max(memory.forward_backward, memory.step)


def test_an_accumulated_gradient_is_added_in_place():
    once = step_memory(trace(MILLION, MILLION, unit=4, activations=100 * MILLION), MemoryPlan(None))
    often = step_memory(trace(MILLION, MILLION, unit=4, activations=100 * MILLION), MemoryPlan(None, accumulation=10))
    # at the peak, where backward begins, the sum of the micro-batches before is there
    assert often.forward_backward - once.forward_backward == 8 * MILLION


def test_two_buckets_with_overlap():
    one, two = (step_memory(trace(MILLION), MemoryPlan(2, half=True, bucket=5 * MILLION, overlap=o)) for o in (False, True))
    assert two.buckets - one.buckets == 2 * 5 * MILLION


def test_offload_takes_the_optimizer_off_the_gpu():
    there = step_memory(trace(16 * MILLION), MemoryPlan(2, processes=2, half=True, bucket=MILLION))
    off = step_memory(trace(16 * MILLION), MemoryPlan(2, processes=2, half=True, bucket=MILLION, offload='optimizer'))
    assert off.optimizer == 0
    assert off.peak < there.peak
    assert off.offloaded >= there.optimizer
    everything = step_memory(
        trace(16 * MILLION, frozen=MILLION), MemoryPlan(3, processes=2, half=True, bucket=MILLION, offload='all')
    )
    assert everything.parameters_trained == everything.parameters_frozen == 0


def test_adam_goes_one_by_one_on_a_cpu():
    assert adam_temporaries([10, 30], 'cpu') == 2 * 4 * 30
    assert adam_temporaries([10, 30], 'cuda') == 4 * 40
    assert adam_temporaries([], 'cpu') == 0


def test_ddp_keeps_whole_copies_and_its_gradients_twice():
    plan = plan_of({'type': 'LisaDDPStrategy', 'target_batch': 32}, processes=4, micro_batch=2, device='cpu')
    assert (plan.stage, plan.processes, plan.accumulation, plan.half) == (None, 4, 4, False)
    step = trace(3 * MILLION, MILLION, unit=4, frozen=2 * MILLION, activations=10 * MILLION)
    alone, copied = step_memory(step, MemoryPlan(None, accumulation=4, device='cpu')), step_memory(step, plan)
    assert copied.buckets == 4 * 4 * MILLION  # a flat copy of the gradients of 4 M parameters
    assert copied.gradients == alone.gradients
    assert copied.forward_backward - alone.forward_backward == copied.step - alone.step == copied.buckets


def test_ddp_may_become_deepspeed():
    found = list(savings_of({'type': 'LisaDDPStrategy'}, processes=2))
    assert found[0] == ['strategy.type=LisaDeepSpeedStrategy', 'strategy.bf16=True']
    assert found[1] == [*found[0], 'strategy.zero_stage=3']
    assert list(savings_of({'type': 'LisaDDPStrategy', 'bf16': True}, processes=1)) == [['strategy.type=LisaDeepSpeedStrategy']]
    assert list(savings_of({'type': 'LisaSingleDeviceStrategy'}, processes=1)) == list(savings_of(None, processes=2)) == []


def test_a_plugins_strategy_brings_its_own(monkeypatch):
    class HalvedStrategy(LisaDDPStrategy):
        @classmethod
        def memory_plan(cls, config, *, processes, micro_batch, device):
            return MemoryPlan(1, processes=processes, half=config['halved'], device=device)

        @classmethod
        def memory_savings(cls, config, *, processes):
            yield ['strategy.halved=True']

    monkeypatch.setitem(STRATEGIES.module_dict, 'HalvedStrategy', HalvedStrategy)
    written = {'type': 'HalvedStrategy', 'halved': True}
    assert plan_of(written, processes=8, micro_batch=1) == MemoryPlan(1, processes=8, half=True)
    assert list(savings_of(written, processes=8)) == [['strategy.halved=True']]


def test_strategies_that_are_not_known(monkeypatch):
    with pytest.raises(ConfigError, match='MyStrategy'):
        plan_of({'type': 'MyStrategy'}, processes=1, micro_batch=1)
    with pytest.raises(ConfigError, match='for one GPU, not 2'):
        plan_of({'type': 'LisaSingleDeviceStrategy'}, processes=2, micro_batch=1)
    with pytest.raises(ConfigError, match='target_batch is 7'):
        plan_of({'type': 'LisaDeepSpeedStrategy', 'target_batch': 7}, processes=2, micro_batch=1)
    monkeypatch.setitem(STRATEGIES.module_dict, 'SilentStrategy', type('SilentStrategy', (FolderCheckpointMixin,), {}))
    with pytest.raises(MemoryUnknownError, match='SilentStrategy, whose memory is not known: it has no class method memory_plan'):
        plan_of({'type': 'SilentStrategy'}, processes=1, micro_batch=1)
    assert list(savings_of({'type': 'SilentStrategy'}, processes=1)) == []
