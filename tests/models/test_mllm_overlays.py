"""Ready-made whole models are the published architectures: built for their shapes, without folders."""

from __future__ import annotations

import pytest
from mmengine.config import Config

import lisa_mm
from lisa_mm.models.mllms import HFMLLM
from lisa_mm.models.phases import shapes_only
from lisa_mm.registry import MLLMS

from .families import whole_model

FOLDER = lisa_mm.PACKAGE_DIR.parent / 'configs/_base_/mllms'
# Parameters as published, width of the states
PUBLISHED = {
    'gemma3_4b': (4_300_079_472, 2560),
    'hf_llava15_7b': (7_063_427_072, 4096),
    'internvl3_8b': (7_944_373_760, 3584),
    'llava_next_vicuna_7b': (7_063_427_072 + 4096, 4096),  # LLaVA-1.5 and a newline of the image
    'llava_onevision_7b': (8_030_348_832, 3584),
    'qwen2_5_vl_3b': (3_754_622_976, 2048),
    'qwen2_5_vl_7b': (8_292_166_656, 3584),
    'qwen2_vl_7b': (8_291_375_616, 3584),
    'qwen3_vl_4b': (4_437_815_808, 2560),
    'qwen3_vl_8b': (8_767_123_696, 4096),
}


def read(name):
    return Config.fromfile(FOLDER / f'{name}.py').mllm.to_dict()


def test_all_overlays_of_whole_models_are_checked():
    assert {file.stem for file in FOLDER.glob('*.py') if read(file.stem)['type'] == 'HFMLLM'} == set(PUBLISHED)


@pytest.mark.parametrize('name', PUBLISHED)
def test_overlays_are_the_published_architectures(name):
    with shapes_only():
        mllm = MLLMS.build(read(name))
    assert (sum(p.numel() for p in mllm.parameters()), mllm.hidden_size) == PUBLISHED[name]
    assert mllm.model.get_decoder() is not None


def test_a_folder_that_is_there_has_the_word(tmp_path):
    arguments = whole_model('llava', tmp_path)
    HFMLLM(**{k: v for k, v in arguments.items() if k != 'type'}).model.save_pretrained(tmp_path)
    wider = dict(arguments['config'], text_config=dict(arguments['config']['text_config'], hidden_size=64))
    with shapes_only():
        planned = HFMLLM(pretrained=str(tmp_path / 'none'), config=wider, processor=str(tmp_path))
        read = HFMLLM(pretrained=str(tmp_path), config=wider)
    assert (planned.hidden_size, read.hidden_size) == (64, 32)
    assert HFMLLM(pretrained=str(tmp_path), config=wider).hidden_size == 32
