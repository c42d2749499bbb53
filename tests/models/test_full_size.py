"""Mask losses a few masks at a time equal those over all masks at once; losses of plugins see full maps."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.models import full_size
from lisa_mm.models.base import BaseLoss
from lisa_mm.models.full_size import FullSizeMaps
from lisa_mm.models.losses import MaskBCELoss, MaskDiceLoss, MaskLoss
from lisa_mm.models.mask_decoders.upscaling import upscale_masks

SIZES = [(37, 53), (20, 11), (64, 64)]


class Learned(MaskLoss):
    """A mask loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.7))

    def mask_loss(self, logits, targets):
        return (self.factor * logits - targets).square().mean()


class Whole(BaseLoss):
    """A plugin's loss that reads the maps itself."""

    def forward(self, outputs, data_samples):
        pairs = zip(outputs['mask_logits'], outputs['mask_targets'], strict=True)
        return sum((logits.sigmoid() - targets).abs().sum() for logits, targets in pairs)


def given(counts):
    torch.manual_seed(0)
    low = [torch.randn(n, 16, 16, requires_grad=True) for n in counts]
    masks = [(torch.rand(n, *SIZES[i]) > 0.5).to(torch.uint8) for i, n in enumerate(counts)]
    return low, masks


def both(low, masks):
    """The outputs with maps made when read, and with plain tensors."""
    states = torch.zeros(1, 1, 1)
    lazy = FullSizeMaps(low, lambda i, logits: upscale_masks(logits, 64, (64, 40), SIZES[i]))
    targets = FullSizeMaps(masks, lambda _, own: own.float())
    return (
        {'hidden_states': states, 'mask_logits': lazy, 'mask_targets': targets},
        {'hidden_states': states, 'mask_logits': list(lazy), 'mask_targets': list(targets)},
    )


@pytest.mark.parametrize('piece', [1, 4 * 37 * 53 * 2, 1 << 30], ids=['one mask', 'two masks', 'all'])
@pytest.mark.parametrize('counts', [(1,), (5,), (3, 0, 2), (0, 4)])
@pytest.mark.parametrize('loss', [MaskBCELoss, MaskDiceLoss, Learned, Whole])
def test_value_and_gradients_are_those_of_all_masks_at_once(loss, counts, piece, monkeypatch):
    part, (low, masks) = loss(), given(counts)
    inputs = [*low, *part.parameters()]
    lazy, plain = both(low, masks)
    pairs = list(zip(plain['mask_logits'], plain['mask_targets'], strict=True))
    if isinstance(part, MaskLoss):
        wanted = torch.stack([part.mask_loss(a, b) * len(a) for a, b in pairs if len(a)]).sum() / (sum(counts) + 1e-8)
    else:
        wanted = part(plain, [])
    gradients = torch.autograd.grad(wanted, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
    monkeypatch.setattr(full_size, 'PIECE_BYTES', piece)
    for outputs in (lazy, plain):
        found = part(outputs, [])
        assert_close(found, wanted, atol=1e-6, rtol=1e-5)
        scaled = torch.autograd.grad(found * 1024, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
        for one, other in zip(scaled, gradients, strict=True):
            assert_close(one / 1024, other, atol=1e-7, rtol=1e-5)


def test_a_batch_without_masks_has_the_loss_zero():
    low, masks = given((0, 0))
    assert MaskDiceLoss()(both(low, masks)[0], []) == 0


def test_maps_are_read_like_a_list():
    low, masks = given((3, 0, 2))
    maps = both(low, masks)[0]['mask_logits']
    assert [tuple(one.shape) for one in maps] == [(3, 37, 53), (0, 20, 11), (2, 64, 64)]
    assert torch.equal(maps[-1], maps[2])
    assert [len(one) for one in maps[1:]] == [0, 2]
    with pytest.raises(IndexError):
        maps[3]


def test_no_map_at_full_size_is_kept_for_backward():
    low, masks = given((0, 0, 6))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        MaskBCELoss()(both(low, masks)[0], [])
    assert kept
    assert not [tensor.shape for tensor in kept if tensor.is_floating_point() and tensor.shape[-1] >= 64]
