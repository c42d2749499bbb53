"""load_config and compile_config: every fault of a user is one clear error, all at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lisa_mm
from lisa_mm.config import compile_config, derived_values, load_config
from lisa_mm.config.edits import parse_literal
from lisa_mm.errors import ConfigError
from lisa_mm.models.base import BaseMaskDecoder
from lisa_mm.registry import MASK_DECODERS

NANO = lisa_mm.get_config('lisa/lisa_nano_pretrain')  # builds without any weights


def faults(*options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compile_config(load_config(NANO, options=options))
    return str(caught.value)


def test_the_configs_compile():
    compiled = compile_config(load_config(NANO))
    transform = next(t for t in compiled.train_dataloader.dataset.pipeline if t.type == 'EncodeConversations')
    assert transform.num_image_tokens == 16  # (96 / 24)^2
    assert compiled.train_dataloader.dataset.data_root == 'data/demo/pretrain'
    assert compiled.train_dataloader.collate_fn.pad_token_id == 3
    assert compiled.param_scheduler.total_iters == compiled.train_cfg.max_iters


def test_compile_is_pure():
    source = load_config(NANO)
    before = source.pretty_text
    compiled = compile_config(source)
    assert source.pretty_text == before
    assert any(key.endswith('total_iters') for key, _ in derived_values(source, compiled))


def test_options_reach_data_and_schedule():
    compiled = compile_config(load_config(NANO, options=['train_cfg.max_iters=7', 'data_root=some where/a,b']))
    assert compiled.param_scheduler.total_iters == 7
    assert compiled.train_dataloader.dataset.data_root == 'some where/a,b'
    assert compiled.val_dataloader.dataset.data_root == 'some where/a,b'


@pytest.mark.parametrize(
    ('option', 'hint'),
    [
        ('lr=1', 'no such key'),
        ('train_cfg.max_iter=3', "takes no argument|'max_iter'"),
        ('model.losses.bce.wieght=1.0', "Did you mean 'weight'"),
        ('model.seg_head.type=SegTokenHaed', "Did you mean 'SegTokenHead'"),
        ('model.mllm.projector.type=MaskDiceLoss', 'is a loss: give it there'),
        ('strategy.zero_stag=1', "takes no argument 'zero_stag'"),
        ('model.seg_head.prompt_dim=512', 'model.mask_decoder gives 64'),
        ('model.mllm.projector.in_channels=7', 'model.mllm.vision_tower gives 96'),
        ('model.tuning=half', "allowed: 'full', 'frozen'"),
        ('train_dataloader.dataset.phrases=3', "takes no argument 'phrases'"),
        ('train_dataloader.dataset.type=JsonSegDataset', "Did you mean 'JsonlSegDataset'"),
        ('train_dataloader.dataset.pipeline.0.type=LoadImages', "Did you mean 'LoadImage'"),
        ('model.mllm.language_model.template=llava_v2', "Did you mean 'llava_v1'"),
        ('model.mask_decoder.image_encoder.image_size=190', 'no multiple of patch_size'),
        ('train_dataloader.dataset.bare=30', 'give a number from 0 to 1'),
        ('train_dataloader.dataset.rejection=[REJX]', "rejection is '[REJX]', which the language model would read as plain text"),
        ('train_dataloader.dataset.rejection=[SEG]', 'which asks for a mask'),
    ],
)
def test_a_broken_key_is_named(option, hint):
    text = faults(option)
    assert any(part in text for part in hint.split('|')), text


def test_a_rejection_is_one_of_the_answer_tokens():
    options = ["train_dataloader.dataset.rejection='[REJ]'"]
    assert "it has no answer_tokens. Give it answer_tokens=['[REJ]']" in faults(*options)
    tokens = "model.mllm.language_model.answer_tokens=['[REJ]']"
    compiled = compile_config(load_config(NANO, options=[*options, tokens]))
    assert compiled.train_dataloader.dataset.rejection == '[REJ]'


def test_lora_targets_that_match_nothing():
    text = faults('model.tuning=None', "model.lora={'r': 4, 'target_modules': ['q_prj']}")
    assert "'q_prj' matches no layer" in text
    assert "Did you mean 'q_proj'" in text
    assert "no 'rank'" in faults('model.tuning=None', "model.lora={'rank': 4, 'target_modules': ['q_proj']}")


def test_all_faults_at_once():
    text = faults('model.seg_head.type=Nope', 'model.losses.ce.type=Nope', 'train_dataloader.dataset.type=Nope')
    assert 'seg head' in text
    assert 'loss' in text
    assert 'dataset' in text


def test_a_misspelt_top_level_key(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text("model = dict(type='LISA')\nstrategi = dict(type='X')\n")
    with pytest.raises(ConfigError, match="Did you mean 'strategy'"):
        load_config(path)
    with pytest.raises(ConfigError, match='no such config'):
        load_config(tmp_path / 'b.py')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1', 1),
        ('1e-4', 1e-4),
        ('true', True),
        ('None', None),
        ('[1, 2]', [1, 2]),
        ('a path/with,comma', 'a path/with,comma'),
        ('', ''),
    ],
)
def test_literals(text, value):
    assert parse_literal(text) == value


def test_a_misspelt_key_beside_the_one_that_a_base_gives(tmp_path):
    """Else the leaf's value would be dropped in silence as a variable, and the base's would count."""
    shutil.copytree(Path(NANO).parents[1], tmp_path / 'configs')
    leaf = tmp_path / 'configs' / 'lisa' / 'lisa_leaf.py'
    base = 'from mmengine.config import read_base\n\nwith read_base():\n    from .lisa_nano import *\n\n'
    leaf.write_text(base + 'train_dataloder = dict(batch_size=1)\n')
    with pytest.raises(ConfigError, match=r"'train_dataloder' is no key of a config\. Did you mean 'train_dataloader'"):
        load_config(leaf)


@pytest.mark.parametrize('left_out', ['preprocess', 'upscale'])
def test_a_plugin_that_leaves_out_a_method_is_told_which(left_out):
    members = {'prompt_dim': 4, 'preprocess': {}, 'encode_image': None, 'forward': None, 'upscale': None}
    members.pop(left_out)
    unfinished = type('Unfinished', (BaseMaskDecoder,), members)
    with pytest.raises(ConfigError, match=f'Unfinished, a mask decoder, leaves out {left_out}: write it'):
        MASK_DECODERS.build(dict(type=unfinished))
