"""Every part under `.bfloat16()`, as DeepSpeed casts a model: it trains, near its float32 self."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from .families import DECODER_KINDS, MAKERS, mask_decoder, whole_model
from .test_hf_vision_tower import TOWERS
from .whole import batch, build, put_together, sample


def check(model):
    """The losses of both precisions are near (bfloat16 has 8 bits), and every trained parameter has a gradient in both."""
    model.train()
    half = copy.deepcopy(model).bfloat16()
    losses = []
    for one in (model, half):
        data = batch(one, sample(one, (48, 64), 'two'), sample(one, (70, 30), 'one', 1))
        found = one(**data, mode='loss')
        assert all(value.dtype == torch.float32 for value in found.values())
        sum(found.values()).backward()
        trained = [p for p in one.parameters() if p.requires_grad]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)  # small ones may round to zero
        losses.append({key: value.item() for key, value in found.items()})
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    return half


@pytest.mark.parametrize('kind', DECODER_KINDS)
def test_mask_decoders(kind):
    model = build(put_together(), mask_decoder(kind))
    half = check(model)
    positions = [one.mask_decoder.model.get_image_wide_positional_embeddings() for one in (model, half)]  # pyright: ignore[reportCallIssue] - a model of transformers
    assert_close(*positions, rtol=0, atol=0)  # sines of large phases mean nothing in bfloat16


@pytest.mark.parametrize('family', MAKERS)
def test_whole_models(family, tmp_path):
    check(build(whole_model(family, tmp_path)))


@pytest.mark.parametrize('kind', TOWERS)
def test_vision_towers(kind):
    check(build(put_together(dict(type='HFVisionTower', config=TOWERS[kind]))))
