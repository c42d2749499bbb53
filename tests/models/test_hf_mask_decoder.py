"""Mask decoders of transformers: the released SAM's masks, and the same rules for every kind."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close
from transformers import SamImageProcessor

import lisa_mm
from lisa_mm.datasets.transforms import ResizeForMaskDecoder
from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models.mask_decoders import HFMaskDecoder, SAMMaskDecoder, hf_mask_decoder
from lisa_mm.models.phases import shapes_only
from lisa_mm.registry import MASK_DECODERS as REGISTERED

from .families import DECODER_KINDS, MASK_DECODERS, NO_TIMM, mask_decoder, whole_model
from .whole import SAM, batch, build, frozen_as_it_says, gradients_are_where_they_belong, put_together, sample

RELEASED = {'image_encoder.vit.': 'image_encoder.', 'decoder.': 'mask_decoder.', 'prompt_encoder.': 'prompt_encoder.'}


def make(kind: str, **settings) -> HFMaskDecoder:
    torch.manual_seed(0)
    return frozen_as_it_says(HFMaskDecoder(config=MASK_DECODERS[kind], **settings))


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


@pytest.mark.parametrize('kind', DECODER_KINDS)
def test_gradients_in_what_trains_and_nowhere_else(kind):
    decoder = make(kind).train()
    pixels = torch.randn(2, 3, decoder.image_size, decoder.image_size)
    embeddings = decoder.encode_image(pixels)
    if kind in ('sam', 'sam_hq'):
        assert not embeddings.features.requires_grad  # the frozen encoder is out of the graph
    prompts = [torch.randn(2, 16, requires_grad=True), torch.randn(1, 16)]
    masks = decoder(embeddings, prompts)
    sum(decoder.upscale(mask, (10, 10), (20, 30)).square().mean() for mask in masks).backward()
    assert prompts[0].grad is not None
    assert prompts[0].grad.abs().sum() > 0
    trained = gradients_are_where_they_belong(decoder)
    assert not any(word in name for name in trained for word in ('vision_encoder', 'iou_prediction', 'prompt_', 'obj_score_head'))
    assert not any('shared_image_embedding' in name for name in trained)
    assert any('output_hypernetworks_mlps.0' in name for name in trained)
    if kind in ('sam2', 'sam3_tracker', 'edgetam'):
        assert {'model.no_memory_embedding', 'model.mask_decoder.conv_s0.weight'} <= set(trained)
    if kind == 'sam_hq':
        assert any('compress_vit' in name for name in trained)


@pytest.mark.parametrize('kind', DECODER_KINDS)
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


@pytest.mark.parametrize('kind', DECODER_KINDS)
@torch.no_grad()
def test_evaluation_gives_the_masks_of_training(kind):
    decoder = make(kind)
    pixels, prompts = torch.randn(1, 3, decoder.image_size, decoder.image_size), [torch.randn(4, 16)]
    trained = decoder.train()(decoder.encode_image(pixels), prompts)[0]
    assert_close(decoder.eval()(decoder.encode_image(pixels), prompts)[0], trained)


def test_the_encoder_trains_when_asked():
    decoder = make('sam2', encoder_frozen=False).train()
    masks = decoder(decoder.encode_image(torch.randn(1, 3, 128, 128)), [torch.randn(1, 16)])
    masks[0].square().mean().backward()
    assert decoder.model.vision_encoder.backbone.blocks[0].layer_norm1.weight.grad.abs().sum() > 0


def test_preprocessing_follows_from_the_decoder():
    rules = {kind: make(kind).preprocess for kind in MASK_DECODERS if kind != 'edgetam'}
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


@pytest.fixture(scope='module')
def mllms(tmp_path_factory):
    """A language model with a tower, and a whole model."""
    return {'llama': put_together(), 'whole_llava': whole_model('llava', tmp_path_factory.mktemp('llava'))}


@pytest.mark.parametrize('mllm', ['llama', 'whole_llava'])
@pytest.mark.parametrize('kind', ['segment_anything', *DECODER_KINDS])
def test_one_training_step_in_lisa(kind, mllm, mllms):
    model = build(mllms[mllm], None if kind == 'segment_anything' else mask_decoder(kind)).train()
    data = batch(model, sample(model, (48, 64), 'two'), sample(model, (50, 30), 'none'), sample(model, (70, 30), 'one'))
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    sum(losses.values()).backward()
    trained = gradients_are_where_they_belong(model)
    for part in ('lora_A', 'lora_B', 'embed_tokens', 'lm_head', 'seg_head', 'mask_decoder'):
        assert any(part in name for name in trained), part
    predicted = model.eval()(**data, mode='predict')
    assert [tuple(item.mask_logits.shape) for item in predicted] == [(3, 48, 64), (0, 50, 30), (1, 70, 30)]
    nothing = model.train()(**batch(model, sample(model, (50, 30), 'none')), mode='loss')
    assert nothing['loss_mask_bce'].item() == 0
    sum(nothing.values()).backward()


def test_what_a_user_can_get_wrong(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean 'sam2'"):
        HFMaskDecoder(config=dict(model_type='sam22'))
    with pytest.raises(ConfigError, match='needs pretrained=FOLDER'):
        HFMaskDecoder()
    with pytest.raises(CheckpointError, match=r'holds no config.json'):
        HFMaskDecoder(pretrained=str(tmp_path))
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='edgetam_video')))
    monkeypatch.setattr(hf_mask_decoder, 'is_timm_available', lambda: False)
    for given in (dict(pretrained=str(tmp_path)), dict(config=MASK_DECODERS['edgetam'])):
        with pytest.raises(ConfigError, match=r'one of timm, which is not installed: pip install timm'):
            HFMaskDecoder(**given)
    torch.save({}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='only SAM is read from a file'):
        HFMaskDecoder(config=MASK_DECODERS['sam2'], pretrained=str(tmp_path / 'a.pth'))


# Parameters as published. segment-anything's positional encoding is a buffer, transformers' a parameter of 2 x 128.
PARAMETERS = {
    'sam_vit_b': 93_735_472,
    'sam_vit_l': 312_342_832,
    'sam_vit_h': 641_090_608,
    'hf_sam_vit_b': 93_735_472 + 256,
    'hf_sam_vit_l': 312_342_832 + 256,
    'hf_sam_vit_h': 641_090_608 + 256,
    'sam_hq_vit_b': 94_806_832,
    'sam_hq_vit_l': 313_676_336,
    'sam_hq_vit_h': 642_686_256,
    'sam2_hiera_t': 31_440_721,
    'sam2_hiera_s': 38_538_577,
    'sam2_hiera_b_plus': 73_328_401,
    'sam2_hiera_l': 216_924_865,
    'sam3_tracker': 458_260_369,
    'edgetam': 9_120_641,
}
OVERLAYS = lisa_mm.PACKAGE_DIR.parent / 'configs/_base_/mask_decoders'


def test_all_overlays_are_checked():
    assert {file.stem for file in OVERLAYS.glob('*.py')} == set(PARAMETERS)


@pytest.mark.parametrize('name', [pytest.param(n, marks=NO_TIMM) if n == 'edgetam' else n for n in PARAMETERS])
def test_overlays_are_the_published_architectures(name):
    with shapes_only():
        decoder = REGISTERED.build(Config.fromfile(OVERLAYS / f'{name}.py').mask_decoder.to_dict())
    assert sum(p.numel() for p in decoder.parameters()) == PARAMETERS[name]
    assert decoder.prompt_dim == 256
