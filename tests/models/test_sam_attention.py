from __future__ import annotations

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from lisa_mm.models.backbones import sam_attention
from lisa_mm.models.backbones.sam_attention import FusedAttention


def pair(side: int, dim: int = 12, heads: int = 3) -> tuple[Attention, FusedAttention]:
    """The release's attention and ours with the same weights, relative positions far from zero."""
    torch.manual_seed(0)
    released = Attention(dim, heads, use_rel_pos=True, input_size=(side, side))
    for relative in (released.rel_pos_h, released.rel_pos_w):
        torch.nn.init.normal_(relative)
    fused = FusedAttention(dim, heads, use_rel_pos=True, input_size=(side, side))
    fused.load_state_dict(released.state_dict())
    return released, fused


@pytest.mark.parametrize('side', [1, 4, 7])
def test_without_gradients_it_equals_the_release(side):
    released, fused = pair(side)
    x = torch.randn(2, side, side, 12)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), released(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('product', [True, False])
def test_pieces_equal_all_at_once(monkeypatch, product):
    """Pieces of windows, of heads and of rows of queries, the last of each smaller; the bias by a product and by a sum."""
    _, fused = pair(5)
    x = torch.randn(5, 5, 5, 12)
    row = 5 * 25 * 4  # bytes of the bias of one row of queries of one head
    with torch.no_grad():
        together = fused(x)
        monkeypatch.setattr(sam_attention, 'LONGEST_PRODUCT', 10 if product else 9)
        for at_once in (1, row, 2 * row, 5 * row, 10 * row, 15 * row, 30 * row, 1000 * row):
            monkeypatch.setattr(sam_attention, 'CACHED_BYTES', at_once)
            torch.testing.assert_close(fused(x), together, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ('at_once', 'expected'),
    [(1, 2 * 3 * 4), (7, 2 * 3), (11, 2 * 2), (12, 2), (24, 1), (10**6, 1)],
    ids=['row by row', 'head by head', 'two heads, then one', 'image by image', 'two images', 'all'],
)
def test_a_piece_holds_whole_images_or_whole_heads_or_rows(monkeypatch, at_once, expected):
    monkeypatch.setattr(sam_attention, 'CACHED_BYTES', at_once * 4 * 16 * 4)
    pieces = list(sam_attention._pieces(torch.zeros(2, 3, 16, 5), 4, 4))
    assert len(pieces) == expected
    count = torch.zeros(2, 3, 4)
    for piece in pieces:
        count[piece] += 1
    assert (count == 1).all()


def test_rows_and_columns_are_not_exchanged():
    released, fused = pair(5)
    torch.nn.init.zeros_(released.rel_pos_w)
    fused.load_state_dict(released.state_dict())
    x = torch.randn(1, 5, 5, 12)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), released(x), rtol=1e-5, atol=1e-6)
        assert not torch.allclose(fused(x.transpose(1, 2)).transpose(1, 2), released(x), atol=1e-3)


def test_gradients_are_those_of_the_release():
    released, fused = pair(4)
    x = torch.randn(2, 4, 4, 12)
    for module in (released, fused):
        module(x).square().sum().backward()
    for name, parameter in released.named_parameters():
        assert torch.equal(dict(fused.named_parameters())[name].grad, parameter.grad), name
