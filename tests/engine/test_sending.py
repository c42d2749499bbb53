"""The first process's weights reach all others, and equal ones are not written."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lisa_mm.engine import sending
from lisa_mm.engine.sending import send_weights


def module():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2, bias=False))
    made[2].weight.data = made[2].weight.data.bfloat16()
    made.register_buffer('empty', torch.zeros(0))
    made.register_buffer('mask', torch.tensor([True, False]))
    return made


@pytest.fixture
def receive(monkeypatch):
    """A process of two; what the first one has is given."""

    def prepare(first):
        tensors = iter([*first.parameters(), *first.buffers()])
        monkeypatch.setattr(sending, 'get_world_size', lambda: 2)

        def broadcast(sent, source):
            assert source == 0
            sent.copy_(next(tensors).detach().reshape(-1).view(torch.uint8))

        monkeypatch.setattr(torch.distributed, 'broadcast', broadcast)

    return prepare


def versions(of):
    return [tensor._version for tensor in [*of.parameters(), *of.buffers()]]


def test_equal_weights_are_not_written(receive):
    own = module()
    before = versions(own)
    receive(copy.deepcopy(own))
    send_weights(own)
    assert versions(own) == before


def test_others_become_the_first_ones(receive):
    own, first = module(), module()
    with torch.no_grad():
        first.get_parameter('0.weight')[1, 2] += 1
        first.get_parameter('2.weight').neg_()
        first.get_buffer('1.running_mean').fill_(float('nan'))
        first.get_buffer('1.num_batches_tracked').add_(7)
        first.get_buffer('mask').logical_not_()
    kept, before = own[0].weight, versions(own)
    receive(first)
    send_weights(own)
    assert own[0].weight is kept
    for found, wanted in zip([*own.parameters(), *own.buffers()], [*first.parameters(), *first.buffers()], strict=True):
        assert torch.equal(found.nan_to_num(nan=-1.0), wanted.nan_to_num(nan=-1.0))
    assert sum(now > then for now, then in zip(versions(own), before, strict=True)) == 5


def test_one_process_sends_nothing(monkeypatch):
    monkeypatch.delattr(torch.distributed, 'broadcast')
    send_weights(module())
