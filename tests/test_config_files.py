"""A swap written in a config: files with ``_base_`` over files with ``read_base``, and what a changed ``type`` leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lisa_mm.config import compile_config, compile_with_model, load_config
from lisa_mm.errors import ConfigError

from .models.families import mask_decoder, whole_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    root = tmp_path_factory.mktemp('configs')
    shutil.copytree(ROOT / 'configs', root / 'configs')
    (root / 'configs' / '_base_' / 'mllms' / 'tiny_llava.py').write_text(f'mllm = {whole_model("llava", root / "llava")!r}\n')
    return root / 'configs' / 'lisa'


@pytest.fixture
def leaf(configs):
    """Writes a leaf config beside the others."""
    written = []

    def write(text, name='leaf.py'):
        written.append(configs / name)
        written[-1].write_text(text)
        return written[-1]

    yield write
    for file in written:
        file.unlink(missing_ok=True)


@pytest.fixture
def log(monkeypatch):
    lines = []
    for module in ('files', 'edits'):
        monkeypatch.setattr(f'lisa_mm.config.{module}.print_log', lambda text, **_: lines.append(text))
    return lines


def llava(configs):
    return whole_model_arguments(configs.parent / '_base_' / 'mllms' / 'tiny_llava.py')


def whole_model_arguments(file):
    scope: dict = {}
    exec(file.read_text(), scope)
    return scope['mllm']


def test_a_classic_file_over_lazy_ones_changes_what_it_says(configs, leaf):
    path = leaf(
        "_base_ = ['lisa_nano.py']\nmax_iters = 7\ntrain_cfg = dict(max_iters=max_iters)\ndata_root = '{{fileDirname}}/x'\n"
    )
    before, after = load_config(configs / 'lisa_nano.py').to_dict(), load_config(path).to_dict()
    assert after['train_cfg'] == {**before['train_cfg'], 'max_iters': 7}
    assert after['data_root'] == f'{path.parent}/x'
    same = set(before) - {'train_cfg', 'data_root'}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}  # tuples and all
    second = leaf(
        "_base_ = 'leaf.py'\nval_dataloader = dict(_delete_=True, batch_size=_base_.train_cfg.max_iters)\n", 'second.py'
    )
    assert load_config(second).val_dataloader == {'batch_size': 7}
    assert load_config(second).train_cfg.max_iters == 7


def test_a_classic_swap_of_the_whole_model_drops_and_lists_the_old_parts(configs, leaf, log):
    path = leaf(f"_base_ = ['lisa_nano.py']\nmodel = dict(mllm={llava(configs)!r})\n")
    source = load_config(path)
    assert set(source.model.mllm) == {'type', 'config', 'processor'}
    assert log == [
        f'{path}: model.mllm is a HFMLLM, which does not take vision_tower, projector, language_model of LlavaMLLM: dropped',
        f'{path}: model.seg_head begins at random and is trained, its weights fit another neighbour',
    ]
    compiled, model = compile_with_model(source)
    assert model.seg_head.projection[0].in_features == 32
    assert not model.seg_head.frozen
    swapped = load_config(configs / 'lisa_nano.py', swaps=['mllm=tiny_llava'])
    assert compile_config(swapped).to_dict() == compiled.to_dict()


def test_a_classic_swap_of_the_mask_decoder(configs, leaf, log):
    path = leaf(f"_base_ = ['lisa_nano.py']\nmodel = dict(mask_decoder={dict(mask_decoder('sam2'), pretrained=None)!r})\n")
    source = load_config(path)
    assert set(source.model.mask_decoder) == {'type', 'config', 'pretrained'}
    assert 'num_heads, mlp_dim, iou_hidden_dim, image_encoder of SAMMaskDecoder: dropped' in log[0]
    assert compile_with_model(source)[1].mask_decoder.kind == 'sam2'


def test_what_the_new_type_takes_too_is_kept(configs, leaf):
    path = leaf(f"_base_ = ['lisa_nano.py']\nmodel = dict(mask_decoder={mask_decoder('sam2')!r})\n")
    source = load_config(path)
    assert source.model.mask_decoder.pretrained == 'weights://nano/sam.safetensors'
    with pytest.raises(ConfigError, match=r'only SAM is read from a file; give the Hugging Face folder of sam2'):
        compile_config(source)


def test_what_the_file_wrote_itself_is_not_dropped(configs, leaf):
    path = leaf(
        f"_base_ = ['lisa_nano.py']\nmodel = dict(mask_decoder=dict(num_heads=2, pretrained=None, **{mask_decoder('sam2')!r}))\n"
    )
    with pytest.raises(ConfigError, match="HFMaskDecoder takes no argument 'num_heads'"):
        compile_config(load_config(path))


def test_a_type_changed_on_the_command_line(configs, log):
    source = load_config(
        configs / 'lisa_nano.py',
        options=[
            'model.mllm.type=HFMLLM',
            f'model.mllm.config={llava(configs)["config"]}',
            f'model.mllm.processor={llava(configs)["processor"]}',
        ],
    )
    assert set(source.model.mllm) == {'type', 'config', 'processor'}
    assert 'model.mllm is a HFMLLM, which does not take vision_tower, projector, language_model' in log[0]
    assert 'pretrained' not in source.model.seg_head
    assert compile_config(source).model.mllm == source.model.mllm
    # an unknown name and one of another role drop nothing
    for name, hint in (('HFMLM', "Did you mean 'HFMLLM'"), ('MaskDiceLoss', 'is a loss: give it there')):
        source = load_config(configs / 'lisa_nano.py', options=[f'model.mllm.type={name}'])
        assert 'vision_tower' in source.model.mllm
        with pytest.raises(ConfigError, match=hint):
            compile_config(source)


READ_BASE = """from mmengine.config import read_base

with read_base():
    from .lisa_nano import *
    from .._base_.mllms.tiny_llava import mllm
"""


def test_an_update_in_a_lazy_file_leaves_parts_that_compiling_drops(configs, leaf, log):
    path = leaf(READ_BASE + "model['mllm'].update(mllm)\nmodel['seg_head'].update(pretrained=None)\n")
    source = load_config(path)
    assert {'vision_tower', 'projector', 'language_model'} < set(source.model.mllm)
    compiled = compile_config(source)
    assert set(compiled.model.mllm) == {'type', 'config', 'processor'}
    assert log == ['compile_config: model.mllm is a HFMLLM, which does not take vision_tower, projector, language_model: dropped']
    assert 'vision_tower' in source.model.mllm  # the source is what was written
    wrong = leaf(READ_BASE + "model['mllm'].update(mllm, vision=dict(type='CLIPVisionTower'), full_view=True)\n")
    with pytest.raises(ConfigError, match=r"no argument 'vision'[\s\S]*no argument 'full_view'"):
        compile_config(load_config(wrong))


def test_weights_for_another_neighbour_are_found_before_the_start(configs, leaf):
    path = leaf(READ_BASE + 'model.update(mllm=mllm)\n')
    with pytest.raises(ConfigError, match=r'seg_head.safetensors does not fit SegTokenHead: .* of another shape'):
        compile_config(load_config(path))


@pytest.mark.parametrize(
    ('text', 'hint'),
    [
        ("_base_ = ['lisa_nanno.py']\n", r"_base_ names 'lisa_nanno.py', but there is no file"),
        ("_base_ = ['lisa_nano.py', 'lisa_nano_pretrain.py']\n", r'two of its bases set'),
        ("_base_ = ['lisa_nano.py']\nmodel = dict(\n", r'leaf.py is no valid config|leaf.py, line'),
        ("_base_ = ['lisa_nano.py']\nmodel = dict(a=b)\n", r"leaf.py[\s\S]*'b' is not defined"),
    ],
)
def test_what_a_user_can_get_wrong(leaf, text, hint):
    with pytest.raises(ConfigError, match=hint) as caught:
        load_config(leaf(text))
    assert '/tmp/tmp' not in str(caught.value)  # no file of ours
