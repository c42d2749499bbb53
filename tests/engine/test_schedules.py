from __future__ import annotations

import pytest
import torch
from deepspeed.runtime.lr_schedules import WarmupDecayLR as DeepSpeedWarmupDecayLR

from lisa_mm.engine import WarmupDecayLR
from lisa_mm.errors import ConfigError


def make_optimizer(lr: float = 3e-4) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def lrs(total: int, warmup: int) -> list[float]:
    optimizer = make_optimizer()
    scheduler = WarmupDecayLR(optimizer, total, warmup_iters=warmup)
    values = []
    for _ in range(total + 2):
        values.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return values


def test_the_published_schedule():
    values = lrs(5000, 100)
    assert values[0] == 0
    assert values[50] == pytest.approx(1.5e-4)
    assert values[100] == pytest.approx(3e-4)
    assert values[2550] == pytest.approx(1.5e-4)
    assert values[5000] == values[5001] == 0


def test_equals_deepspeed():
    reference = DeepSpeedWarmupDecayLR(make_optimizer(), 40, 0.0, 3e-4, 10, 'linear')
    expected = []
    for step in range(42):
        reference.step(step)
        expected.append(reference.get_last_lr()[0])
    assert lrs(40, 10) == pytest.approx(expected, abs=1e-12)


def test_a_short_run_warms_up_for_its_first_half():
    assert lrs(4, 100)[:4] == pytest.approx([0, 1.5e-4, 3e-4, 1.5e-4])
    assert lrs(1, 100)[0] == pytest.approx(3e-4)


def test_a_changed_total_wins_over_the_checkpoint(monkeypatch):
    old = WarmupDecayLR(make_optimizer(), 10, warmup_iters=2)
    for _ in range(6):
        old.optimizer.step()
        old.step()
    assert old.optimizer.param_groups[0]['lr'] == pytest.approx(3e-4 * 4 / 8)
    optimizer = make_optimizer()
    new = WarmupDecayLR(optimizer, 20, warmup_iters=2)
    lines: list[str] = []
    monkeypatch.setattr('lisa_mm.engine.schedules.print_log', lambda text, logger: lines.append(text))
    new.load_state_dict(old.state_dict())
    assert optimizer.param_groups[0]['lr'] == pytest.approx(3e-4 * 14 / 18)
    optimizer.step()
    new.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(3e-4 * 13 / 18)
    assert lines == ['WarmupDecayLR: total_iters was 10 in the checkpoint and is 20 now; the new value is used.']


def test_bad_values_are_errors():
    with pytest.raises(ConfigError, match='total_iters=0'):
        WarmupDecayLR(make_optimizer(), 0)
    with pytest.raises(ConfigError, match='optimizer steps'):
        WarmupDecayLR(make_optimizer(), 10, by_epoch=True)
