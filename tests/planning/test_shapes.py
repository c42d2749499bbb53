"""What is alive while a program runs on shapes, against numbers by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from lisa_mm.planning.shapes import LiveStorages, on_shapes, run_backward

ROW = 4 * 10 * 100  # bytes of 10 rows of width 100 in float32


def activations(depth: int, *, recompute: bool = False) -> tuple[int, int]:
    """Bytes kept for backward, and the peak, of linear layers with a sigmoid each."""
    with torch.device('meta'):
        layers = [nn.Linear(100, 100) for _ in range(depth)]
        x = torch.zeros(10, 100, requires_grad=True)
    storages = LiveStorages()
    for tensor in [x, *(parameter for layer in layers for parameter in layer.parameters())]:
        storages.overlook(tensor)
        tensor.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, 'grad', None))

    def step(layer: nn.Linear, value: torch.Tensor) -> torch.Tensor:
        return layer(value).sigmoid()

    with on_shapes(storages, 'cpu'):
        value = x
        for layer in layers:
            value = checkpoint(step, layer, value, use_reentrant=False) if recompute else step(layer, value)
        loss = value.sum()
        del value
        kept = storages.live
        run_backward(loss)
    del loss
    assert storages.live == 0  # all is released, or the count is wrong
    return kept, storages.peak


def test_a_linear_layer_and_its_sigmoid_keep_one_output():
    # the sigmoid's output serves its own backward and the next layer's weight; the sum is 4 bytes
    for depth in (1, 2, 5):
        assert activations(depth)[0] == depth * ROW + 4


def test_the_peak_is_where_backward_begins():
    _, peak = activations(1)
    # the loss, its gradient, and of the linear layer: the output's gradient, the input's, the weight's and the bias's
    assert peak == 4 + 4 + ROW + ROW + 4 * 100 * 100 + 4 * 100


def test_checkpointing_keeps_less():
    kept, peak = activations(8)
    less, lower = activations(8, recompute=True)
    assert kept == 8 * ROW + 4
    assert less == 7 * ROW + 4  # the inputs of the layers, but for the first, which is not counted
    assert lower <= peak


def test_views_and_results_in_place_take_nothing():
    storages = LiveStorages()
    with on_shapes(storages, 'cpu'):
        x = torch.zeros(1000, device='meta')
        y = x.view(10, 100).transpose(0, 1)
        y.add_(1)
    assert storages.live == storages.peak == 4000
    del x
    assert storages.live == 4000
    del y
    assert storages.live == 0


def test_integers_have_values_and_floats_have_none():
    storages = LiveStorages()
    with on_shapes(storages, 'cpu'):
        x = torch.zeros(4, 3, device='meta')
        picked = torch.tensor([True, False, True, True], device=x.device)
        assert x[picked].shape == (3, 3)
        assert torch.arange(5, device=x.device).tolist() == [0, 1, 2, 3, 4]
        assert x.new_zeros(2, dtype=torch.long).tolist() == [0, 0]
        assert x.new_full((2,), 7, dtype=torch.long).tolist() == [7, 7]
        assert torch.ones_like(x, dtype=torch.bool).all()
        assert torch.repeat_interleave(torch.tensor([2, 1], device=x.device)).tolist() == [0, 0, 1]
        assert torch.arange(3, device=x.device, dtype=torch.float32).is_meta
        with pytest.raises((NotImplementedError, RuntimeError)):
            x.sum().item()


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_fused_attention_keeps_no_product(device):
    with torch.device('meta'):
        q, k, v = (torch.zeros(1, 2, 512, 16, requires_grad=True) for _ in range(3))
    mask = torch.ones(1, 1, 512, 512, dtype=torch.bool)
    storages = LiveStorages()
    for tensor in (q, k, v):
        storages.overlook(tensor)
    with on_shapes(storages, device):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        size = 4 * 2 * 512 * 16
        # the output, a logarithm a row and head, and the mask as numbers; the product would be 4 * 2 * 512 * 512 more
        assert size < storages.live < size + 4 * 512 * 512 + 4 * 2 * 512 + 100
        loss = out.sum()
        run_backward(loss)
    assert q.grad is not None
    assert q.grad.shape == q.shape


def test_attention_that_cpu_kernels_refuse_keeps_its_product():
    with torch.device('meta'):
        q, k, v = (torch.zeros(1, 2, 512, 16, requires_grad=True) for _ in range(3))
        bias = torch.zeros(1, 2, 512, 512, requires_grad=True)  # with a gradient of its own
    storages = LiveStorages()
    with on_shapes(storages, 'cpu'):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        assert storages.live > 4 * 2 * 512 * 512
    del out
