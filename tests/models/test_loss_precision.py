"""Losses are computed in float32 from float32 logits, whatever the rest of the step is computed in."""

from __future__ import annotations

import contextlib

import pytest
import torch

from lisa_mm.models.losses import MaskBCELoss, MaskDiceLoss

from .families import mask_decoder
from .whole import batch, build, put_together, sample

ROUTES = {
    'float32': (torch.float32, None),
    'autocast to bfloat16': (torch.float32, torch.bfloat16),  # the single device and DDP
    'autocast to float16': (torch.float32, torch.float16),
    'bfloat16': (torch.bfloat16, None),  # DeepSpeed casts the model
    'float16': (torch.float16, None),
}


@pytest.mark.parametrize('decoder', [None, 'sam', 'sam2'])
@pytest.mark.parametrize('route', ROUTES)
def test_every_loss_is_a_float32_one(route, decoder):
    weights, inside = ROUTES[route]
    model = build(put_together(), mask_decoder(decoder) if decoder else None).train()
    exact = model(**batch(model, *items(model)), mode='loss')
    model = model.to(weights)
    seen = {}
    for name, loss in model.losses.items():  # pyright: ignore[reportCallIssue] - a ModuleDict
        # word logits are the model's own: the loss itself makes them float32
        loss.register_forward_hook(
            lambda _, args, out, name=name: seen.update({name: ({m.dtype for m in args[0]['mask_logits']}, out.dtype)})
        )
    with torch.autocast('cpu', dtype=inside) if inside else contextlib.nullcontext():
        found = model(**batch(model, *items(model)), mode='loss')
    assert {name: seen[name][0] for name in ('bce', 'dice')} == {'bce': {torch.float32}, 'dice': {torch.float32}}
    assert {out for _, out in seen.values()} == {torch.float32}
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert {key: value.item() for key, value in found.items()} == pytest.approx(
        {key: value.item() for key, value in exact.items()}, rel=2e-2
    )
    total, _ = model.parse_losses(found)  # pyright: ignore[reportCallIssue] - mmengine's to() returns itself
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def items(model):
    return sample(model, (48, 64), 'two'), sample(model, (70, 30), 'one', 1)


@pytest.mark.parametrize('loss', [MaskBCELoss(), MaskDiceLoss(), MaskDiceLoss(scale=1.0)])
def test_half_precision_logits_of_a_large_mask_give_the_float32_loss(loss):
    logits, target = torch.full((1, 1024, 1024), 4.0), torch.ones(1, 1024, 1024)  # a million ones: float16 ends at 65504
    assert loss.mask_loss(logits.half(), target.half()).item() == pytest.approx(loss.mask_loss(logits, target).item(), rel=1e-3)
    assert loss.mask_loss(logits.half(), target.half()).dtype == torch.float32


def test_a_mask_of_ours_hides_tokens_in_every_precision():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        bias = torch.tensor([0.0, torch.finfo(dtype).min], dtype=dtype)
        assert (bias - 10).softmax(0).tolist() == [1.0, 0.0]  # an overflow to -inf hides as well
