"""A model and its example in one folder of the package."""

from __future__ import annotations

import json

import pytest
import torch

from lisa_mm.apis.shipped import SHIPPED
from lisa_mm.checkpoints.sources import WeightFiles
from lisa_mm.errors import UserError
from projects.nano.demo.writer import write_demo
from projects.nano.shipping import EXAMPLE, Example, ship


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo')
    write_demo(root, ['test'], num_workers=0, limit=2)
    return root


def test_a_model_replaces_the_one_before(demo, tmp_path):
    target = tmp_path / 'lisa_nano'
    target.mkdir()
    (target / 'old.txt').write_text('of an earlier model')
    example = Example('test_0001', ('the boat', 'the small boat'))
    assert ship(SHIPPED['lisa_nano'], demo, target, example=example) == target
    assert json.loads((target / 'example.json').read_text()) == {
        'image': 'example.jpg',
        'questions': ['the boat', 'the small boat'],
    }
    assert (target / 'example.jpg').read_bytes() == (demo / 'reason_seg/ReasonSeg/test/test_0001.jpg').read_bytes()
    assert not (target / 'old.txt').exists()
    assert list(tmp_path.iterdir()) == [target]
    one, two = WeightFiles(SHIPPED['lisa_nano']), WeightFiles(target)
    assert {info.dtype for info in two.info.values()} == {torch.float16}
    assert all(torch.equal(one.read(name), two.read(name)) for name in one.info)


def test_what_cannot_be_shipped_leaves_the_folder_as_it_was(demo, tmp_path):
    target = tmp_path / 'lisa_nano'
    target.mkdir()
    (target / 'model.txt').write_text('the model')
    with pytest.raises(UserError, match=r'test_0999\.jpg is missing: draw the demo set'):
        ship(SHIPPED['lisa_nano'], demo, target, example=Example('test_0999', ('x',)))
    with pytest.raises(UserError, match='does not exist'):
        ship(tmp_path / 'none', demo, target, example=Example('test_0000', ('x',)))
    assert [path.name for path in tmp_path.rglob('*')] == ['lisa_nano', 'model.txt']


def test_the_example_is_of_the_test_split():
    assert EXAMPLE.scene.startswith('test_')
    assert 2 <= len(EXAMPLE.questions) <= 3
