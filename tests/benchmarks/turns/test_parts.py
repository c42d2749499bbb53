"""Seconds and operations by part: they add up, and backward counts for the part whose gradients it computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.presets import PRESETS
from benchmarks.turns.parts import REST, Parts, operations
from benchmarks.turns.work import build, train_step


def test_operations_of_a_step_add_up():
    model = build(PRESETS['tiny'], 'train', shared=True)
    with operations() as counter:
        parts = Parts(counter.get_total_flops)
        step = train_step(model, PRESETS['tiny'], parts.enter)
        with parts.watching(model):
            step()
    assert sum(parts.spent.values()) == counter.get_total_flops()
    assert all(parts.spent[name] > 0 for name in ('language model', 'mask decoder', 'vision tower', 'seg head'))
    assert parts.spent['optimizer'] == 0
    # the gradient of the upscaling, by two products: 6 masks of 32 x 32 logits at 48 x 64 pixels, in both mask losses
    assert parts.spent[REST] == 2 * 6 * 2 * (48 * 64 * 32 + 32 * 48 * 32)
    # two rows of the head's 32 x 32 layers forward, and twice as many backward, for the six prompts
    head = 2 * 6 * (32 * 32 + 32 * 16)
    assert parts.spent['seg head'] == 3 * head
    assert not model.mask_decoder._forward_hooks  # nothing stays behind


def test_fused_attention_on_a_cpu_is_counted():
    q = torch.randn(2, 3, 8, 4, requires_grad=True)
    with operations() as counter:
        out = F.scaled_dot_product_attention(q, q, q)
        forward = counter.get_total_flops()
        out.sum().backward()
    assert forward == 2 * 2 * (2 * 3) * 8 * 8 * 4  # two products
    assert counter.get_total_flops() - forward == 5 * forward // 2


def test_the_clock_of_a_part_stops_when_another_begins(monkeypatch):
    now = [0.0]
    parts = Parts(lambda: now[0])

    class Tick(nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, x):
            now[0] += self.seconds
            return x

    inner, outer = Tick(1.0), nn.Sequential(Tick(2.0), Tick(4.0))
    outer.insert(1, inner)
    monkeypatch.setattr('benchmarks.turns.parts.modules_of', lambda model: [('inner', inner), ('outer', outer)])
    now[0] = 100.0  # between two steps
    with parts.watching(None):
        outer(torch.zeros(1))
        now[0] += 8.0
    assert parts.spent == pytest.approx({'inner': 1.0, 'outer': 6.0, REST: 8.0})
