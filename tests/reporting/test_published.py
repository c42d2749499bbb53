from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from lisa_mm.reporting.published import FILE, Published, read_published

CONFIGS = Path(__file__).parents[2] / 'configs' / 'lisa'


def test_each_figure_has_a_source_and_is_a_fraction():
    found = read_published()
    assert len(found.figures) > 70
    assert {one.source for one in found.figures} == set(found.sources)
    for one in found.figures:
        assert one.scores and all(0 < value < 1 for value in one.scores.values()), one
    keys = [(one.model, one.benchmark, one.split) for one in found.figures]
    assert len(set(keys)) == len(keys)


def test_all_models_that_are_asked_for_are_there():
    names = ' '.join(one.model for one in read_published().figures)
    assert all(name in names for name in ('LISA', 'GSVA', 'PixelLM', 'SESAME', 'GLaMM', 'Sa2VA', 'X-SAM'))


def test_they_agree_with_the_config_that_states_them():
    text = (CONFIGS / 'lisa_7b_mix.py').read_text(encoding='utf-8')
    stated = re.search(r'val (\d+\.\d)/(\d+\.\d), test (\d+\.\d)/(\d+\.\d)', text)
    assert stated
    found = {
        one.split: one.scores
        for one in read_published().of('reasonseg', 'val') + read_published().of('reasonseg', 'test')
        if one.model == 'LISA-7B'
    }
    values = [found['val']['gIoU'], found['val']['cIoU'], found['test']['gIoU'], found['test']['cIoU']]
    assert [100 * value for value in values] == pytest.approx([float(value) for value in stated.groups()])


def test_of_a_split():
    models = [one.model for one in read_published().of('grefcoco', 'testB')]
    assert models == ['GSVA-7B', 'GSVA-7B (fine-tuned)']
    assert read_published().of('grefcoco', 'train') == []


def test_an_unknown_source():
    values = json.loads(FILE.read_text())
    values['figures'][0]['source'] = 'memory'
    with pytest.raises(ValidationError, match="unknown sources: \\['memory'\\]"):
        Published.model_validate(values)
