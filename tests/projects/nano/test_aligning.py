"""A seg head fitted to the prompts of a model that is trained already."""

from __future__ import annotations

import math

import pytest

from lisa_mm.config import load_config
from lisa_mm.errors import ConfigError, UserError
from projects.nano.aligning import align_head
from projects.nano.demo.writer import write_demo

NANO = 'configs/lisa/lisa_nano.py'
NEW_HEAD = ["model.seg_head={'type': 'SegTokenHead'}"]


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo')
    write_demo(root, limit=12)
    return load_config(NANO, (), [f'data_root={root}'])


def test_a_new_head_over_the_same_states_learns_the_old_prompts(teacher, tmp_path):
    found = align_head(load_config(NANO, (), NEW_HEAD), teacher, None, tmp_path, images=12, rounds=600)
    assert found['prompts'] > 40
    assert found['explained'] > 0.9
    assert found['explained_held_out'] > 0.5
    assert list(found['files']) == ['model.seg_head.pretrained']  # the projector has a file already
    options = [f'{key}={path}' for key, path in found['files'].items()]
    named = load_config(NANO, (), [*NEW_HEAD, *options])
    made = align_head(named, teacher, None, tmp_path, images=12, rounds=0)  # the file is what is made: the head begins at random
    assert made['explained'] < 0.5
    align_head(load_config(NANO, (), NEW_HEAD), teacher, None, tmp_path, images=12, rounds=600)
    begun = align_head(named, teacher, None, tmp_path / 'again', images=12, rounds=0)
    assert begun['explained'] == pytest.approx(found['explained'], abs=1e-6)  # read from the file


def test_another_width_of_prompts_is_refused(teacher, tmp_path):
    student = load_config(NANO, ['mask_decoder=sam_vit_b'], ['model.mask_decoder.pretrained=None'])
    with pytest.raises(ConfigError, match=r'the teacher have 64 channels, those of model\.mask_decoder 256'):
        align_head(student, teacher, None, tmp_path, images=12)


@pytest.mark.parametrize(('images', 'batch', 'said'), [(0, 4, 'images=0'), (9, 4, 'images=9'), (12, 12, 'batch=12')])
def test_too_few_images_to_hold_some_out(teacher, tmp_path, images, batch, said):
    with pytest.raises(UserError, match=f'{said}: .* held out'):
        align_head(load_config(NANO, (), NEW_HEAD), teacher, None, tmp_path / 'out', images=images, batch=batch)
    assert not (tmp_path / 'out').exists()


def test_the_fewest_images(teacher, tmp_path):
    found = align_head(load_config(NANO, (), NEW_HEAD), teacher, None, tmp_path, images=10, rounds=1)
    assert all(math.isfinite(found[key]) for key in ('explained', 'explained_held_out'))
