"""The model inside the package: found by its name from anywhere, small, whole, and able to answer its example."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from lisa_mm import PACKAGE_DIR
from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.loading import resolve
from lisa_mm.apis.shipped import SHIPPED, find_model
from lisa_mm.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_or_a_path(elsewhere):
    assert find_model('lisa_nano') == PACKAGE_DIR / 'weights' / 'lisa_nano'
    assert resolve('lisa_nano') == (SHIPPED['lisa_nano'] / 'config.py', SHIPPED['lisa_nano'])
    assert find_model(elsewhere) == elsewhere
    (elsewhere / 'lisa_nano').mkdir()  # a work folder of the user's own
    assert find_model('lisa_nano').resolve() == elsewhere / 'lisa_nano'


@pytest.mark.parametrize(('name', 'hint'), [('lisa_nona', r"Did you mean 'lisa_nano'\?"), ('work_dirs/x', r'Known: lisa_nano\.')])
def test_a_name_that_is_neither(name, hint):
    with pytest.raises(UserError, match=f'{name} does not exist: give .* or the name of a shipped model. {hint}'):
        find_model(name)
    with pytest.raises(UserError, match='does not exist'):
        LISAInferencer(name)


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_folder_is_small_and_stands_alone(name):
    files = [path for path in SHIPPED[name].rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6e6
    assert (SHIPPED[name] / 'example.jpg').stat().st_size < 40_000
    for file in ('config.py', 'export.json', 'example.json'):
        text = (SHIPPED[name] / file).read_text(encoding='utf-8')
        assert not re.search(r'[\'"]/|weights://', text), file  # no absolute path, no other weights


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_model_answers_its_example(name):
    """Each mask is in the picture, and each question has another one."""
    example = json.loads((SHIPPED[name] / 'example.json').read_text(encoding='utf-8'))
    image = Image.open(SHIPPED[name] / example['image'])
    inferencer = LISAInferencer(name)
    masks = [inferencer(image, question).masks for question in example['questions']]
    assert 2 <= len(masks) <= 3
    assert [len(found) for found in masks] == [1] * len(masks)
    for number, (mask,) in enumerate(masks):
        assert 0.001 < mask.mean() < 0.5
        assert all((mask & other).sum() < 0.2 * mask.sum() for (other,) in masks[:number])
