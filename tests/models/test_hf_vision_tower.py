"""Vision towers: each gives what its own model gives on what its own processor makes of an image."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import lisa_mm
from lisa_mm.config import compile_with_model, load_config
from lisa_mm.datasets.transforms import ResizeForVisionTower
from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models.backbones import CLIPVisionTower, HFVisionTower
from lisa_mm.models.data_preprocessor import SegDataPreprocessor
from lisa_mm.models.phases import shapes_only

from .families import TEXT, TOKENIZER
from .whole import batch, build, gradients_are_where_they_belong, sample

SIDE = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8)
VIT = dict(SIDE, intermediate_size=48)
TOWERS = {
    'clip': dict(VIT, model_type='clip_vision_model', projection_dim=16),
    'siglip': dict(VIT, model_type='siglip_vision_model'),
    'dinov2': dict(SIDE, model_type='dinov2', mlp_ratio=2),
    'dinov2_with_registers': dict(SIDE, model_type='dinov2_with_registers', mlp_ratio=2, num_register_tokens=4),
    'dinov3_vit': dict(VIT, model_type='dinov3_vit', num_register_tokens=4),
}
BEFORE = {'clip': 1, 'siglip': 0, 'dinov2': 1, 'dinov2_with_registers': 5, 'dinov3_vit': 5}
CROP = dict(size=dict(shortest_edge=37), crop_size=dict(height=32, width=32), do_center_crop=True)
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
SQUARE = dict(size=dict(height=32, width=32))
PROCESSORS = {
    'clip': lambda: transformers.CLIPImageProcessorPil(size=dict(shortest_edge=32), crop_size=dict(height=32, width=32)),
    'siglip': lambda: transformers.SiglipImageProcessorPil(**SQUARE),
    'dinov2': lambda: transformers.BitImageProcessorPil(**CROP, **IMAGENET),
    'dinov2_with_registers': lambda: transformers.BitImageProcessorPil(**CROP, **IMAGENET),
    'dinov3_vit': lambda: transformers.DINOv3ViTImageProcessor(**SQUARE),
}
# Names of the published files
NAMES = {
    'clip': ['vision_model.encoder.layers.0.self_attn.q_proj.weight', 'text_model.final_layer_norm.weight', 'logit_scale'],
    'siglip': ['vision_model.encoder.layers.0.self_attn.q_proj.weight', 'text_model.head.weight', 'vision_model.head.probe'],
    'dinov2': ['encoder.layer.0.attention.attention.query.weight', 'embeddings.mask_token', 'layernorm.weight'],
    'dinov2_with_registers': ['encoder.layer.0.attention.attention.query.weight', 'embeddings.register_tokens'],
    'dinov3_vit': ['layer.0.attention.q_proj.weight', 'embeddings.register_tokens', 'norm.weight'],
}
WIDE = (40, 70)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Folders as they are published: CLIP and SigLIP with their text towers, each with its processor."""
    made = {}

    def make(kind):
        if kind not in made:
            torch.manual_seed(0)
            config = transformers.AutoConfig.for_model(**TOWERS[kind])
            if kind in ('clip', 'siglip'):
                text = dict(VIT, vocab_size=60, bos_token_id=1, eos_token_id=2, max_position_embeddings=8)
                both = transformers.AutoConfig.for_model(kind, vision_config=TOWERS[kind], text_config=text)
                model = transformers.AutoModel.from_config(both)
            else:
                model = transformers.AutoModel.from_config(config)
            for parameter in model.parameters():  # norms and scales begin at 1 and 0: nothing may hide
                parameter.data += 0.2 * torch.randn_like(parameter)
            made[kind] = tmp_path_factory.mktemp(kind)
            model.save_pretrained(made[kind])
            PROCESSORS[kind]().save_pretrained(made[kind])
            assert set(NAMES[kind]) <= set(load_file(made[kind] / 'model.safetensors'))
        return made[kind]

    return make


def reference(kind, folder):
    cls = {'clip': transformers.CLIPVisionModel, 'siglip': transformers.SiglipVisionModel}.get(kind, transformers.AutoModel)
    return cls.from_pretrained(folder).eval()


def picture(size):
    return np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)


def pixels_of(tower, image):
    """Through the pipeline: the transform, and the normalisation on the device."""
    values = ResizeForVisionTower(tower.preprocess).transform({'img': image})['pixel_values']
    assert values.dtype == np.uint8
    preprocessor = SegDataPreprocessor(tower.preprocess, dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    return preprocessor({'inputs': {'pixel_values': torch.tensor(values)[None]}})['inputs']['pixel_values']


@pytest.mark.parametrize('kind', TOWERS)
@torch.no_grad()
def test_features_are_those_of_the_model_with_its_own_processor(kind, folders):
    tower = HFVisionTower(pretrained=str(folders(kind))).eval()
    pixels = pixels_of(tower, picture(WIDE))
    wanted = PROCESSORS[kind]()(Image.fromarray(picture(WIDE)), return_tensors='pt')['pixel_values']
    if kind == 'dinov3_vit':  # its processor resizes floats, PIL rounds after each of two passes: up to one step of 255, over std
        assert (pixels - wanted).abs().max() <= 1 / 255 / 0.224
        pixels = wanted
    else:
        assert_close(pixels, wanted, atol=1e-6, rtol=1e-6)
    states = reference(kind, folders(kind))(pixel_values=wanted, output_hidden_states=True)
    assert states.last_hidden_state.shape[1] == BEFORE[kind] + 16
    features = tower(pixels)
    assert features.shape == (1, tower.num_tokens(*WIDE), tower.out_channels) == (1, 16, 24)
    assert_close(features, states.last_hidden_state[:, BEFORE[kind] :], atol=1e-5, rtol=1e-5)
    tower.layer = -2
    assert_close(tower(pixels), states.hidden_states[2][:, BEFORE[kind] :], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(tower(pixels), features, atol=1e-2)


@pytest.mark.parametrize('kind', TOWERS)
def test_preprocessing_follows_from_the_family_where_no_processor_is(kind, folders):
    read = HFVisionTower(pretrained=str(folders(kind))).preprocess
    assert HFVisionTower(config=TOWERS[kind]).preprocess == read
    squeezed = HFVisionTower(config=TOWERS[kind], full_view=True).preprocess
    assert (squeezed['size'], squeezed['do_center_crop']) == ({'height': 32, 'width': 32}, False)
    cropped = HFVisionTower(config=TOWERS[kind], full_view=False).preprocess
    assert cropped['do_center_crop'] is True
    assert cropped['size'] == {'shortest_edge': 37 if 'dinov2' in kind else 32}  # 32 x 256 / 224


def test_a_processor_beside_the_weights_has_the_word(folders, tmp_path):
    HFVisionTower(pretrained=str(folders('siglip'))).model.save_pretrained(tmp_path)
    transformers.SiglipImageProcessorPil(size=dict(height=48, width=48), resample=2, image_mean=[0.4] * 3).save_pretrained(
        tmp_path
    )
    tower = HFVisionTower(pretrained=str(tmp_path))
    assert tower.preprocess['resample'] == 2  # as SigLIP 2
    assert tower.preprocess['image_mean'] == (0.4, 0.4, 0.4)
    assert tower.num_tokens(0, 0) == 36  # (48 / 8)^2, trained at 32
    assert HFVisionTower(pretrained=str(tmp_path), image_size=32).num_tokens(0, 0) == 16


@pytest.mark.parametrize('kind', TOWERS)
@torch.no_grad()
def test_another_image_size(kind, folders):
    folder = folders(kind)
    tower = HFVisionTower(pretrained=str(folder), image_size=64).eval()
    assert tower.num_tokens(0, 0) == 64
    pixels = pixels_of(tower, picture(WIDE))
    assert pixels.shape[-2:] == (64, 64)
    asks = {'interpolate_pos_encoding': True} if kind in ('clip', 'siglip') else {}
    wanted = reference(kind, folder)(pixel_values=pixels, **asks).last_hidden_state[:, BEFORE[kind] :]
    assert_close(tower(pixels), wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r'image_size 60 is no multiple of its patches of 8 pixels, and it was trained at 32'):
        HFVisionTower(config=TOWERS[kind], image_size=60)


def test_the_trained_size_need_not_be_a_multiple():
    tower = HFVisionTower(config=dict(TOWERS['siglip'], image_size=38))  # as 384 / 14
    assert tower(torch.zeros(1, 3, 38, 38)).shape[1] == tower.num_tokens(0, 0) == 16


@pytest.mark.parametrize('kind', TOWERS)
def test_one_training_step_in_lisa(kind):
    text = dict(type='CausalLM', config=dict(model_type='llama', **TEXT), tokenizer=str(TOKENIZER), template='plain')
    projector = dict(type='MLPProjector', frozen=False)

    def model_of(**settings):
        tower = dict(type='HFVisionTower', config=TOWERS[kind], **settings)
        return build(dict(type='LlavaMLLM', vision_tower=tower, projector=projector, language_model=text)).train()

    for settings in (dict(), dict(frozen=False), dict(frozen=False, layer=-2)):
        model = model_of(**settings)
        tower = model.mllm.vision_tower
        assert tower.model.training is not tower.frozen
        data = batch(model, sample(model, (48, 64), 'two'), sample(model, (100, 30), 'one', 1))
        losses = model(**data, mode='loss')
        assert all(torch.isfinite(value) for value in losses.values())
        sum(losses.values()).backward()
        trained = gradients_are_where_they_belong(model)
        assert any('projector' in name for name in trained)
        inside = [name for name in trained if 'vision_tower' in name]
        assert bool(inside) is not tower.frozen
        last = [name for name in inside if '.2.' in name and 'layer' in name]
        assert bool(last) is (settings == dict(frozen=False))  # layer=-2: nothing flows through the last one
    first, again = model_of(frozen=False).eval(), model_of(frozen=False).train()
    pixels = torch.randn(1, 3, 32, 32)
    assert_close(again.mllm.vision_tower(pixels), first.mllm.vision_tower(pixels))  # nothing by chance in training  # pyright: ignore[reportCallIssue] - modules


@pytest.mark.parametrize('kind', TOWERS)
def test_a_saved_tower_is_read_again(kind, folders, tmp_path):
    first = HFVisionTower(pretrained=str(folders(kind)))
    first.model.save_pretrained(tmp_path)
    again = HFVisionTower(pretrained=str(tmp_path), config=TOWERS[kind])
    assert first.from_file is again.from_file is True
    state = first.model.state_dict()
    assert not any('text' in key or 'head' in key for key in state)
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize('kind', TOWERS)
def test_missing_weights_are_an_error(kind, folders, tmp_path):
    state = load_file(folders(kind) / 'model.safetensors')
    save_file({key: value for key, value in state.items() if key != NAMES[kind][0]}, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text((folders(kind) / 'config.json').read_text())
    with pytest.raises(CheckpointError, match='1 weights of the image tower are missing'):
        HFVisionTower(pretrained=str(tmp_path))


def test_what_a_user_can_get_wrong(folders, tmp_path):
    with pytest.raises(ConfigError, match='needs pretrained=FOLDER or config='):
        HFVisionTower()
    with pytest.raises(ConfigError, match=r"model_type is 'siglip_vision_modl'.*Did you mean 'siglip_vision_model'"):
        HFVisionTower(config=dict(VIT, model_type='siglip_vision_modl'))
    with pytest.raises(ConfigError, match='model_type is None'):
        HFVisionTower(config=VIT)
    with pytest.raises(ConfigError, match=r"'siglip2_vision_model', which HFVisionTower does not take.*of fixed size"):
        HFVisionTower(config=dict(model_type='siglip2_vision_model'))
    with pytest.raises(ConfigError, match=r'layer is 4, but there are 4 hidden states: -4 to 3'):
        HFVisionTower(config=TOWERS['siglip'], layer=4)
    with pytest.raises(CheckpointError, match=r'holds no config.json'):
        HFVisionTower(pretrained=str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds a 'dinov2', no tower of CLIPVisionTower.*Use type='HFVisionTower'"):
        CLIPVisionTower(pretrained=str(folders('dinov2')))
    with pytest.raises(ConfigError, match=r'vision_tower\.config\.hidden_size is 32, but .* says 24'):
        HFVisionTower(pretrained=str(folders('siglip')), config=dict(TOWERS['siglip'], hidden_size=32))
    with pytest.raises(ConfigError, match=r"vision_tower\.config\.model_type is 'dinov2', but .* says 'siglip_vision_model'"):
        HFVisionTower(pretrained=str(folders('siglip')), config=TOWERS['dinov2'])
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='llama')))
    with pytest.raises(ConfigError, match=r"holds a 'llama', no tower of HFVisionTower"):
        HFVisionTower(pretrained=str(tmp_path))
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='of_tomorrow')))
    with pytest.raises(CheckpointError, match='of_tomorrow'):
        HFVisionTower(pretrained=str(tmp_path))


# Parameters as published; SigLIP's without its pooling head: 15,238,352 of 428,225,600 and 7,087,104 of 92,884,224
OVERLAYS = {
    'clip_vit_l_14': (303_179_776, 256, 224),
    'clip_vit_l_14_336': (303_507_456, 576, 336),
    'siglip_b_16_224': (92_884_224 - 7_087_104, 196, 224),
    'siglip_so400m_14_384': (428_225_600 - 15_238_352, 729, 384),
    'siglip2_so400m_14_384': (428_225_600 - 15_238_352, 729, 384),
    'dinov2_vit_l_14': (304_368_640, 256, 224),
    'dinov2_reg_vit_l_14': (304_368_640 + 4 * 1024, 256, 224),
    'dinov3_vit_l_16': (303_129_600, 196, 224),
}


def test_all_overlays_are_checked():
    assert {file.stem for file in (lisa_mm.PACKAGE_DIR.parent / 'configs/_base_/vision_towers').glob('*.py')} == set(OVERLAYS)


@pytest.mark.parametrize('name', OVERLAYS)
def test_what_depends_on_the_tower_follows_in_one_edit(name):
    parameters, tokens, side = OVERLAYS[name]
    source = load_config(lisa_mm.get_config('lisa/lisa_nano'), swaps=[f'vision_tower={name}'])
    compiled, model = compile_with_model(source)
    assert sum(p.numel() for p in model.mllm.vision_tower.parameters()) == parameters
    assert 'pretrained' not in compiled.model.mllm.projector  # made for another tower
    assert model.mllm.projector.linear.in_features == model.mllm.vision_tower.out_channels
    pipeline = {step.type: step for step in compiled.train_dataloader.dataset.pipeline}
    assert pipeline['EncodeConversations'].num_image_tokens == tokens
    assert pipeline['ResizeForVisionTower'].vision_preprocess.crop_size == {'height': side, 'width': side}
    half = name.startswith('siglip')
    assert (pipeline['ResizeForVisionTower'].vision_preprocess.image_mean == (0.5, 0.5, 0.5)) is half


def test_shapes_without_a_folder():
    with shapes_only():
        tower = HFVisionTower(pretrained='none/siglip', config=TOWERS['siglip'])
        assert tower.num_tokens(0, 0) == 16
        with pytest.raises(CheckpointError, match=r'holds no config.json'):
            HFVisionTower(pretrained='none/siglip')
    assert all(parameter.is_meta for parameter in tower.parameters())
    with pytest.raises(CheckpointError, match=r'holds no config.json'):
        HFVisionTower(pretrained='none/siglip', config=TOWERS['siglip'])
