"""A part is swapped by one edit: what depends on it follows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.training import train
from lisa_mm.config import compile_config, load_config
from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA

from .models.families import MASK_DECODERS, mask_decoder, whole_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """A copy of configs/ with tiny parts of random weights beside the others."""
    root = tmp_path_factory.mktemp('configs')
    shutil.copytree(ROOT / 'configs', root / 'configs')
    base = root / 'configs' / '_base_'
    for family in ('llava', 'qwen2_5_vl'):
        part = whole_model(family, root / family)
        (base / 'mllms' / f'tiny_{family}.py').write_text(f'mllm = {part!r}\n')
    for kind in MASK_DECODERS:
        (base / 'mask_decoders' / f'tiny_{kind}.py').write_text(f'mask_decoder = {mask_decoder(kind)!r}\n')
    return root / 'configs' / 'lisa'


@pytest.mark.parametrize('family', ['llava', 'qwen2_5_vl'])
def test_a_whole_model_replaces_tower_projector_and_language_model(configs, family):
    compiled = compile_config(load_config(configs / 'lisa_nano.py', swaps=[f'mllm=tiny_{family}']))
    assert not {'vision_tower', 'projector', 'language_model'} & set(compiled.model.mllm)
    assert 'pretrained' not in compiled.model.seg_head  # made for another width
    assert compiled.model.lora.target_modules == ['q_proj', 'v_proj']
    pipeline = {step.type: step for step in compiled.train_dataloader.dataset.pipeline}
    assert pipeline['ResizeForVisionTower'].vision_preprocess.processor == compiled.model.mllm.processor
    assert pipeline['EncodeConversations'].tokenizer.pretrained == compiled.model.mllm.processor
    assert 'num_image_tokens' not in pipeline['EncodeConversations']
    with torch.device('meta'):
        model = LISA(**{key: value for key, value in compiled.model.items() if key != 'type'})
    assert model.seg_head.projection[0].in_features == model.mllm.hidden_size == 32  # pyright: ignore[reportIndexIssue] - a Sequential


def test_parts_inside_a_whole_model_cannot_be_swapped(configs):
    with pytest.raises(ConfigError, match='a whole model without a language_model of its own'):
        load_config(configs / 'lisa_nano.py', swaps=['mllm=tiny_llava', 'language_model=any'])
    with pytest.raises(ConfigError, match=r"no mllm of this name.*Did you mean 'tiny_llava'"):
        load_config(configs / 'lisa_nano.py', swaps=['mllm=tiny_llave'])


@pytest.mark.parametrize(
    ('name', 'size', 'resize'),
    [
        ('sam_vit_b', 1024, 'longest_side'),
        ('hf_sam_vit_l', 1024, 'longest_side'),
        ('sam_hq_vit_b', 1024, 'longest_side'),
        ('sam2_hiera_l', 1024, 'squash'),
        ('sam3_tracker', 1008, 'squash'),
        ('tiny_sam2', 128, 'squash'),
    ],
)
def test_what_depends_on_the_mask_decoder_follows(configs, name, size, resize):
    compiled = compile_config(load_config(configs / 'lisa_nano_pretrain.py', swaps=[f'mask_decoder={name}']))
    step = next(step for step in compiled.train_dataloader.dataset.pipeline if step.type == 'ResizeForMaskDecoder')
    assert step.mask_preprocess.image_size == size
    assert step.mask_preprocess.resize == resize


STRATEGIES = sorted(path.stem for path in (ROOT / 'configs' / '_base_' / 'strategies').glob('*.py'))


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_what_depends_on_the_strategy_follows_and_the_batch_stays(strategy):
    wrapper = 'DeepSpeedOptimWrapper' if strategy.startswith('zero') else 'OptimWrapper'
    for name, target in (('lisa_7b_mix', 160), ('lisa_nano', None)):
        compiled = compile_config(load_config(ROOT / 'configs' / 'lisa' / f'{name}.py', swaps=[f'strategy={strategy}']))
        assert compiled.optim_wrapper.type == wrapper
        assert compiled.strategy.get('target_batch') == target
        assert compiled.strategy.get('bf16', False) == strategy.endswith('bf16')


@pytest.mark.slow
@pytest.mark.parametrize(
    'swap',
    ['mllm=tiny_llava', 'mllm=tiny_qwen2_5_vl', 'mask_decoder=tiny_sam', 'mask_decoder=tiny_sam_hq', 'mask_decoder=tiny_sam2'],
)
def test_twenty_steps_and_an_answer(configs, demo, tmp_path, swap):
    options = [f'data_root={demo}', 'train_cfg.max_iters=20', 'train_dataloader.batch_size=2', 'val_dataloader=None']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    work = train(configs / 'lisa_nano.py', work_dir=tmp_path / 'work', swaps=[swap], options=options, launcher='none')
    assert (work / 'iter_20' / 'weights.safetensors').is_file()
    image = next((demo / 'reason_seg' / 'ReasonSeg' / 'test').glob('*.jpg'))
    answer = LISAInferencer(work)(image, 'the ball', max_new_tokens=4)  # the source in the work folder holds the swapped part
    assert answer.mask_logits.shape[0] == answer.text.count('[SEG]')
