"""The mask decoder's own order of operations against the release's modules, run on copies of the features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from lisa_mm.models.base import ImageEmbeddings
from lisa_mm.models.mask_decoders import SAMMaskDecoder
from lisa_mm.models.mask_decoders.upscaling import upscale_masks

from .whole import SAM


def make() -> SAMMaskDecoder:
    torch.manual_seed(0)
    decoder = SAMMaskDecoder(**{key: value for key, value in SAM.items() if key != 'type'})
    for parameter in decoder.decoder.parameters():  # biases of zero and norms of one would hide errors
        parameter.data += 0.1 * torch.randn_like(parameter)
    return decoder


def straightforward(self: SAMMaskDecoder, features: torch.Tensor, prompts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Each prompt with a copy of its image's features, through the release's modules."""
    decoder, masks = self.decoder, []
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    for image, own in zip(features, prompts, strict=True):
        found = [torch.zeros(0, 4 * image.shape[1], 4 * image.shape[2])]
        for prompt in own:
            copied = image[None] + self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            tokens = torch.cat([output_tokens, prompt[None]])[None]
            states, attended = decoder.transformer(copied, self.prompt_encoder.get_dense_pe(), tokens)
            upscaled = decoder.output_upscaling(attended.mT.reshape(copied.shape))
            found.append(torch.einsum('kc,kchw->khw', decoder.output_hypernetworks_mlps[0](states[:, 1]), upscaled))
        masks.append(torch.cat(found))
    return masks


@pytest.mark.parametrize('counts', [(1,), (3,), (1, 1), (2, 0, 1), (0, 2), (4, 3, 1)])
@pytest.mark.parametrize('trained', [False, True], ids=['frozen encoder', 'trained encoder'])
def test_masks_and_gradients_are_those_of_the_release(counts, trained):
    decoder = make()
    side = decoder.image_encoder.image_size // decoder.image_encoder.patch_size
    given = [torch.randn(len(counts), decoder.prompt_dim, side, side), *(torch.randn(n, decoder.prompt_dim) for n in counts)]
    weights = [torch.randn(n, 4 * side, 4 * side) for n in counts]
    results = []
    for run in (straightforward, lambda self, features, prompts: self(ImageEmbeddings(features, {}), prompts)):
        decoder.zero_grad()
        features, *prompts = [tensor.clone().requires_grad_() for tensor in given]
        masks = run(decoder, features.requires_grad_(trained), prompts)
        sum((mask * weight).sum() for mask, weight in zip(masks, weights, strict=True)).backward()
        trained_ones = {name: p.grad for name, p in decoder.decoder.named_parameters() if p.grad is not None}
        results.append((masks, trained_ones, [prompt.grad for prompt in prompts], features.grad))
    wanted, found = results
    assert_close(found[0], wanted[0], atol=1e-5, rtol=1e-5)
    assert found[1].keys() == wanted[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted[1].values())
    for name in wanted[1]:
        assert_close(found[1][name], wanted[1][name], atol=1e-5 * largest, rtol=1e-5, msg=name)
    for ours, theirs in zip((*found[2], found[3]), (*wanted[2], wanted[3]), strict=True):
        if theirs is not None and theirs.numel():
            assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype):
    decoder = make()
    side = decoder.image_encoder.image_size // decoder.image_encoder.patch_size
    features, prompts = torch.randn(2, decoder.prompt_dim, side, side), [torch.randn(n, decoder.prompt_dim) for n in (2, 1)]
    with torch.no_grad():
        exact = decoder(ImageEmbeddings(features, {}), prompts)
        half = decoder.to(dtype)(ImageEmbeddings(features.to(dtype), {}), [prompt.to(dtype) for prompt in prompts])
    for one, other in zip(half, exact, strict=True):
        assert one.dtype == dtype
        assert (one.float() - other).abs().max() < 0.05 * other.abs().max()


@pytest.mark.parametrize('square', [64, None])
@pytest.mark.parametrize('sizes', [((64, 48), (97, 71)), ((31, 64), (20, 43)), ((64, 64), (64, 64))])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_upscaling_has_the_values_and_gradients_of_interpolation(square, sizes, dtype):
    resized, original = sizes
    logits, weight = torch.randn(3, 16, 16, dtype=dtype), torch.randn(3, *original)
    results = []
    for own in (True, False):
        x = logits.clone().requires_grad_()
        if own:
            full = upscale_masks(x, square, resized, original)
        else:
            full = x[:, None].float()
            if square:
                full = F.interpolate(full, (square, square), mode='bilinear')[..., : resized[0], : resized[1]]
            full = F.interpolate(full, original, mode='bilinear')[:, 0]
        (full * weight).sum().backward()
        results.append((full, x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].dtype == dtype
    assert_close(
        results[0][1], results[1][1], atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=1e-5 if dtype == torch.float32 else 2e-3
    )


def test_no_mask_is_upscaled_to_none():
    assert upscale_masks(torch.zeros(0, 1, 1), 64, (64, 48), (20, 15)).shape == (0, 20, 15)
