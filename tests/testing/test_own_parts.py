"""Every part that is registered here keeps the contract that plugins are held to."""

from __future__ import annotations

import pytest

from lisa_mm.registry import ROLES
from lisa_mm.testing import check_part
from tests.models.families import mask_decoder, whole_model
from tests.models.language_families import language_model

TOWER = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
PARTS = {
    'LISA': lambda folder: dict(type='LISA'),
    'LlavaMLLM': None,  # the tiny model's own, so that every other check is one of it
    'HFMLLM': lambda folder: whole_model('llava', folder),
    'CLIPVisionTower': lambda folder: dict(type='CLIPVisionTower', config=TOWER),
    'HFVisionTower': lambda folder: dict(type='HFVisionTower', config=dict(TOWER, model_type='siglip_vision_model')),
    'LinearProjector': lambda folder: dict(type='LinearProjector', frozen=False),
    'MLPProjector': lambda folder: dict(type='MLPProjector', frozen=False),
    'CausalLM': lambda folder: language_model('qwen2'),
    'SegTokenHead': lambda folder: dict(type='SegTokenHead', dropout=0.1),
    'SAMMaskDecoder': None,  # as LlavaMLLM
    'HFMaskDecoder': lambda folder: mask_decoder('sam2'),
    'SAMImageEncoder': lambda folder: dict(
        type='SAMImageEncoder',
        image_size=64,
        patch_size=8,
        embed_dim=16,
        depth=1,
        num_heads=2,
        window_size=4,
        global_attn_indexes=(),
        out_channels=16,
        frozen=False,
    ),
    'CrossEntropyLoss': lambda folder: dict(type='CrossEntropyLoss'),
    'MaskBCELoss': lambda folder: dict(type='MaskBCELoss'),
    'MaskDiceLoss': lambda folder: dict(type='MaskDiceLoss'),
}


@pytest.mark.parametrize('name', [name for name, make in PARTS.items() if make])
def test_an_own_part_passes(name, tmp_path):
    assert check_part(PARTS[name](tmp_path))[-1] == 'export'


def test_none_is_forgotten():
    own = {n for registry in ROLES for n in registry.names() if registry.get(n).__module__.startswith('lisa_mm.')}
    assert own <= set(PARTS), own - set(PARTS)
