"""An architecture written beside ``pretrained``: used before the folder is there, compared with it afterwards."""

from __future__ import annotations

import pytest

from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models.architecture import written_architecture
from lisa_mm.models.backbones import CLIPVisionTower
from lisa_mm.models.language_models import CausalLM
from lisa_mm.models.phases import shapes_only
from lisa_mm.models.token_ids import planned_vocabulary

CLIP = dict(image_size=28, patch_size=14, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
LLAMA = dict(model_type='llama', vocab_size=100, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def test_shapes_without_a_folder():
    with shapes_only():
        model = CausalLM(pretrained='none/llm', config=LLAMA)
        assert CLIPVisionTower(pretrained='none/clip', config=CLIP).num_tokens(0, 0) == 4
    assert model.vocab_size == 103  # [SEG], <im_start>, <im_end>
    assert all(parameter.is_meta for parameter in model.parameters())


def test_without_a_folder_nothing_is_built_for_real():
    with pytest.raises(CheckpointError, match=r'holds no config\.json'):
        CausalLM(pretrained='none/llm', config=LLAMA)
    with pytest.raises(CheckpointError, match=r'holds no config\.json'):
        CLIPVisionTower(pretrained='none/clip', config=CLIP)


def test_a_folder_of_another_width_is_named(tmp_path):
    CLIPVisionTower(config=CLIP).model.save_pretrained(tmp_path)
    CLIPVisionTower(pretrained=str(tmp_path), config=CLIP)
    with pytest.raises(ConfigError, match=r'vision_tower\.config\.hidden_size is 32, but .* says 16'):
        CLIPVisionTower(pretrained=str(tmp_path), config={**CLIP, 'hidden_size': 32})


def test_a_misspelt_key_of_a_part_of_another_type_is_found():
    """LLaVA's text_config is a Llama's by default; CONFIG_MAPPING.get() knows no type at all."""
    text = {**LLAMA, 'model_type': 'mistral', 'hidden_sise': 16}
    with pytest.raises(ConfigError, match=r"mllm\.text_config\.hidden_sise=16: MistralConfig has no.*Did you mean 'hidden_size'"):
        written_architecture(dict(model_type='llava', text_config=text), 'mllm')


@pytest.mark.parametrize(
    ('template', 'wrap_image', 'architecture', 'rows'),
    [
        ('llava_v1', True, LLAMA, 103),
        ('vicuna_v1', False, LLAMA, 101),
        ('chat', True, LLAMA, None),
        ('llava_v1', True, {**LLAMA, 'model_type': 'qwen2'}, None),
        ('llava_v1', True, None, None),
    ],
)
def test_rows_are_planned_for_published_llamas_only(template, wrap_image, architecture, rows):
    assert planned_vocabulary({'template': template, 'wrap_image': wrap_image}, architecture) == rows
