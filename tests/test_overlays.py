"""Every language model and every LoRA of configs/_base_ takes its place in the published recipe by one swap."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from lisa_mm.apis.checking import check_config
from lisa_mm.config import load_config

BASE = Path(__file__).parents[1] / 'configs' / '_base_'
RECIPE = BASE.parent / 'lisa' / 'lisa_7b_mix.py'
NANO = BASE.parent / 'lisa' / 'lisa_nano.py'
# Parameters as published, without the rows of new tokens
PUBLISHED = {
    'gemma2_9b': 9_241_705_984,
    'gemma3_1b': 999_885_952,
    'llama3_8b': 8_030_261_248,
    'mistral_7b_v03': 7_248_023_552,
    'olmo2_7b': 7_298_617_344,
    'phi3_mini': 3_821_079_552,
    'phi4_14b': 14_659_507_200,
    'qwen2_5_3b': 3_085_938_688,
    'qwen2_5_7b': 7_615_616_512,
    'qwen3_4b': 4_022_468_096,
    'qwen3_8b': 8_190_735_360,
    'smollm2_135m': 134_515_008,
    'smollm2_1_7b': 1_711_376_384,
    'smollm3_3b': 3_075_098_624,
}
LANGUAGE_MODELS = sorted(path.stem for path in (BASE / 'language_models').glob('*.py'))
LORA = sorted(path.stem for path in (BASE / 'lora').glob('*.py'))


@pytest.mark.parametrize('name', LANGUAGE_MODELS)
def test_language_models(name):
    report = check_config(RECIPE, swaps=[f'language_model={name}', 'lora=all_linear_r16'])
    assert report['faults'] == []
    sizes = report['parameters']
    language = {part: count['all'] for part, count in sizes.items() if part.startswith('mllm.language_model')}
    assert language['mllm.language_model (lora)'] > 0
    if name in PUBLISHED:
        assert language['mllm.language_model (base)'] + language['mllm.language_model (embeddings+head)'] == PUBLISHED[name]
    config = load_config(RECIPE, swaps=[f'language_model={name}']).model.mllm.language_model.config.to_dict()
    written = AutoConfig.for_model(**config).to_dict()
    # as a folder's config.json is read: what is written beside it is compared key by key
    assert {key: written[key] for key in config} == config


@pytest.mark.parametrize('name', LORA)
@pytest.mark.parametrize('config', [RECIPE, NANO], ids=['recipe', 'nano'])
def test_lora(name, config):
    report = check_config(config, swaps=[f'lora={name}'])
    assert report['faults'] == []
    assert report['lora']['modules'] > 0
    adapted = {part.removesuffix(' (lora)') for part in report['parameters'] if part.endswith('(lora)')}
    others = {'mllm.vision_tower', 'mask_decoder.image_encoder'} if name == 'q_v_r8_vision' else set()
    assert adapted == {'mllm.language_model', *others}


def test_fused_projections_need_other_targets():
    faults = check_config(RECIPE, swaps=['language_model=phi3_mini'])['faults']
    assert len(faults) == 1
    assert "'q_proj', 'v_proj' match no layer of the language model. Did you mean 'qkv_proj'?" in faults[0]
