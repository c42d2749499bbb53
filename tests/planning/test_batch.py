"""The vision inputs that stand for an image: as many tokens in a row as the model makes features of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lisa_mm.config import load_config
from lisa_mm.planning.batch import image_inputs
from lisa_mm.planning.report import build_on_shapes

CONFIGS = Path(__file__).parents[2] / 'configs'
# what an image of each costs: 896 x 896 pooled to 16 x 16; 336 x 336; 448 x 448 shuffled; 672 x 672 in 1 + 4 tiles of
# 24 x 24 and 48 line ends; at most 9 times 27 x 27 and 81 line ends beside the 27 x 27 of the whole image
TOKENS = {
    'gemma3_4b': 256,
    'hf_llava15_7b': 576,
    'internvl3_8b': 256,
    'llava_next_vicuna_7b': 576 + 4 * 576 + 48,
    'llava_onevision_7b': 729 + 9 * 729 + 81,
}


def test_all_whole_models_are_tried():
    by_grid = {'qwen2_vl_7b', 'qwen2_5_vl_3b', 'qwen2_5_vl_7b', 'qwen3_vl_4b', 'qwen3_vl_8b'}  # by the limit of pixels
    files = (CONFIGS / '_base_' / 'mllms').glob('*.py')
    assert {file.stem for file in files if Config.fromfile(file).mllm.type == 'HFMLLM'} == TOKENS.keys() | by_grid


@pytest.mark.parametrize('name', TOKENS)
def test_the_model_makes_as_many_features_as_the_rows_have_places(name):
    source = load_config(CONFIGS / 'lisa' / 'lisa_7b_mix.py', (f'mllm={name}',), ())
    model = build_on_shapes(source['model'])
    with torch.device('meta'):
        key, inputs, tokens = image_inputs(model)
        features = model.mllm._features([inputs]).pooler_output
    assert key == 'image_inputs'
    assert tokens == TOKENS[name]
    assert sum(feature.shape[:-1].numel() for feature in features) == tokens
