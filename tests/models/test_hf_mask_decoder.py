"""Mask decoders of transformers: the released SAM's masks, and the same rules for every kind."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import SamImageProcessor, SamModel

from lisa_mm.datasets.transforms import ResizeForMaskDecoder
from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models.mask_decoders import HFMaskDecoder, SAMMaskDecoder

from .families import MASK_DECODERS, mask_decoder, whole_model
from .whole import SAM, batch, build, gradients_are_where_they_belong, sample

RELEASED = {'image_encoder.vit.': 'image_encoder.', 'decoder.': 'mask_decoder.', 'prompt_encoder.': 'prompt_encoder.'}


def make(kind: str, **settings) -> HFMaskDecoder:
    torch.manual_seed(0)
    decoder = HFMaskDecoder(config=MASK_DECODERS[kind], **settings)
    decoder.freeze()
    return decoder


def released(decoder: SAMMaskDecoder) -> dict[str, torch.Tensor]:
    """Its weights under the release's names."""
    return {
        next(new + key.removeprefix(old) for old, new in RELEASED.items() if key.startswith(old)): value
        for key, value in decoder.state_dict().items()
    }


@pytest.fixture
def both(tmp_path):
    """segment-anything's layers and transformers', from one file."""
    torch.manual_seed(0)
    ours = SAMMaskDecoder(**{key: value for key, value in SAM.items() if key != 'type'})
    for parameter in ours.parameters():  # norms and tables of the release begin at 1 and 0: nothing may hide
        parameter.data += 0.2 * torch.randn_like(parameter)
    torch.save({**released(ours), 'pixel_mean': torch.zeros(3), 'pixel_std': torch.ones(3)}, tmp_path / 'sam.pth')
    theirs = HFMaskDecoder(config=MASK_DECODERS['sam'], pretrained=str(tmp_path / 'sam.pth'))
    return ours.eval(), theirs.eval()


@torch.no_grad()
def test_transformers_sam_gives_the_released_masks(both, record_deviation):
    ours, theirs = both
    assert ours.preprocess == theirs.preprocess
    assert ours.prompt_dim == theirs.prompt_dim
    pixels = torch.randn(3, 3, 64, 64)
    prompts = [torch.randn(2, 16), torch.randn(0, 16), torch.randn(1, 16)]
    masks = ours(ours.encode_image(pixels), prompts)
    others = theirs(theirs.encode_image(pixels), prompts)
    assert len({tuple(mask.shape) for mask in masks}) == 3
    for a, b in zip(masks, others, strict=True):
        assert a.shape == b.shape
        assert a.numel() == 0 or a.std() > 0.01
        assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert_close(ours.upscale(a, (64, 30), (100, 47)), theirs.upscale(a, (64, 30), (100, 47)))


def test_a_released_file_is_read_strictly(both, tmp_path):
    ours, theirs = both
    state = released(ours)
    del state['mask_decoder.iou_token.weight']
    torch.save({**state, 'mask_decoder.extra': torch.zeros(1)}, tmp_path / 'cut.pth')
    with pytest.raises(CheckpointError, match=r'1 missing: mask_decoder.iou_token.weight; 1 left over: mask_decoder.extra'):
        HFMaskDecoder(config=MASK_DECODERS['sam'], pretrained=str(tmp_path / 'cut.pth'))
    theirs.model.save_pretrained(tmp_path / 'folder')
    again = HFMaskDecoder(pretrained=str(tmp_path / 'folder'))
    assert again.from_file is True
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, theirs.model.state_dict()[key]), key


@torch.no_grad()
def test_upscaling_is_that_of_the_image_processor():
    decoder = make('sam')
    processor = SamImageProcessor(size=dict(longest_edge=64), pad_size=dict(height=64, width=64))
    logits = torch.randn(2, 32, 32)
    wanted = processor.post_process_masks(
        [logits[:, None]], [(90, 50)], [(64, 36)], binarize=False, pad_size=dict(height=64, width=64)
    )[0]
    assert_close(decoder.upscale(logits, (64, 36), (90, 50)), wanted[:, 0], atol=1e-6, rtol=1e-6)
    assert decoder.upscale(logits[:0], (64, 36), (90, 50)).shape == (0, 90, 50)


@pytest.mark.parametrize('kind', MASK_DECODERS)
def test_gradients_in_what_trains_and_nowhere_else(kind):
    decoder = make(kind).train()
    pixels = torch.randn(2, 3, decoder.image_size, decoder.image_size)
    embeddings = decoder.encode_image(pixels)
    if kind in ('sam', 'sam_hq'):
        assert not embeddings.features.requires_grad  # the frozen encoder is out of the graph
    prompts = [torch.randn(2, 16, requires_grad=True), torch.randn(1, 16)]
    masks = decoder(embeddings, prompts)
    sum(decoder.upscale(mask, (10, 10), (20, 30)).square().mean() for mask in masks).backward()
    assert prompts[0].grad.abs().sum() > 0
    trained = gradients_are_where_they_belong(decoder)
    assert not any(word in name for name in trained for word in ('vision_encoder', 'iou_prediction', 'prompt_', 'obj_score_head'))
    assert not any('shared_image_embedding' in name for name in trained)
    assert any('output_hypernetworks_mlps.0' in name for name in trained)
    if kind in ('sam2', 'sam3_tracker'):
        assert {'model.no_memory_embedding', 'model.mask_decoder.conv_s0.weight'} <= set(trained)
    if kind == 'sam_hq':
        assert any('compress_vit' in name for name in trained)


@pytest.mark.parametrize('kind', MASK_DECODERS)
@torch.no_grad()
def test_flat_prompts_equal_one_image_at_a_time(kind):
    decoder = make(kind).eval()
    pixels = torch.randn(3, 3, decoder.image_size, decoder.image_size)
    prompts = [torch.randn(2, 16), torch.randn(0, 16), torch.randn(3, 16)]
    together = decoder(decoder.encode_image(pixels), prompts)
    assert [len(mask) for mask in together] == [2, 0, 3]
    for number in (0, 2):
        alone = decoder(decoder.encode_image(pixels[number : number + 1]), [prompts[number]])[0]
        assert_close(together[number], alone, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(alone[0], alone[1], atol=1e-6)
    none = decoder(decoder.encode_image(pixels), [torch.randn(0, 16)] * 3)
    assert [mask.shape for mask in none] == [mask[:0].shape for mask in together]


@pytest.mark.parametrize('kind', MASK_DECODERS)
@torch.no_grad()
def test_evaluation_gives_the_masks_of_training(kind):
    decoder = make(kind)
    pixels, prompts = torch.randn(1, 3, decoder.image_size, decoder.image_size), [torch.randn(4, 16)]
    trained = decoder.train()(decoder.encode_image(pixels), prompts)[0]
    assert_close(decoder.eval()(decoder.encode_image(pixels), prompts)[0], trained)


def test_the_encoder_trains_when_asked():
    decoder = make('sam2', encoder_frozen=False).train()
    assert make('sam2').train().model.vision_encoder.training is False
    masks = decoder(decoder.encode_image(torch.randn(1, 3, 128, 128)), [torch.randn(1, 16)])
    masks[0].square().mean().backward()
    assert decoder.model.vision_encoder.backbone.blocks[0].layer_norm1.weight.grad.abs().sum() > 0


def test_preprocessing_follows_from_the_decoder():
    rules = {kind: make(kind).preprocess for kind in MASK_DECODERS}
    assert {kind: rule['resize'] for kind, rule in rules.items()} == {
        'sam': 'longest_side',
        'sam_hq': 'longest_side',
        'sam2': 'squash',
        'sam3_tracker': 'squash',
    }
    assert rules['sam2']['image_size'] == 128
    assert rules['sam3_tracker']['mean'] == (127.5, 127.5, 127.5)
    image = {'img': torch.zeros(30, 60, 3, dtype=torch.uint8).numpy()}
    assert ResizeForMaskDecoder(rules['sam2']).transform(image)['resized_size'] == (128, 128)
    assert ResizeForMaskDecoder(rules['sam']).transform(image)['resized_size'] == (32, 64)


@pytest.mark.parametrize('kind', MASK_DECODERS)
def test_one_training_step_in_lisa(kind, tmp_path):
    model = build(whole_model('llava', tmp_path), mask_decoder(kind)).train()
    data = batch(model, sample(model, (48, 64), 'two'), sample(model, (50, 30), 'none'), sample(model, (70, 30), 'one'))
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    gradients_are_where_they_belong(model)
    predicted = model.eval()(**data, mode='predict')
    assert [tuple(item.mask_logits.shape) for item in predicted] == [(3, 48, 64), (0, 50, 30), (1, 70, 30)]
    nothing = model.train()(**batch(model, sample(model, (50, 30), 'none')), mode='loss')
    assert nothing['loss_mask_bce'].item() == 0
    sum(nothing.values()).backward()


def test_what_a_user_can_get_wrong(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'sam2'"):
        HFMaskDecoder(config=dict(model_type='sam22'))
    with pytest.raises(ConfigError, match='needs pretrained=FOLDER'):
        HFMaskDecoder()
    with pytest.raises(CheckpointError, match=r'holds no config.json'):
        HFMaskDecoder(pretrained=str(tmp_path))
    torch.save({}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='only SAM is read from a file'):
        HFMaskDecoder(config=MASK_DECODERS['sam2'], pretrained=str(tmp_path / 'a.pth'))


def test_shapes_without_weights():
    with torch.device('meta'):
        decoder = HFMaskDecoder(config=dict(model_type='sam'), pretrained='no/such/sam_vit_b.pth')
    assert decoder.prompt_dim == 256
    assert isinstance(decoder.model, SamModel)
    assert sum(p.numel() for p in decoder.parameters()) == 93_735_472 + 256  # the release's and its positional encoding
