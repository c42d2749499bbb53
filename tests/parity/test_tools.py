"""Whole validation sets by the commands a user types: import a published folder, evaluate it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words):
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def imported(golden, tmp_path_factory):
    """The published folder as one of ours."""
    folder = tmp_path_factory.mktemp('imported') / 'model'
    clip = next(golden.models.glob('clip*'))
    run('tools/convert_checkpoint.py', 'import', golden.models / 'lisa-tiny-hf', folder, '--clip', clip)
    return folder


def options_of(set_name):
    name, *rest = set_name.split('|')
    where = 'val_dataloader.dataset'
    if name == 'ReasonSeg':
        return [f'{where}.split={rest[0]}']
    return [f'{where}.type=ReferSegDataset', f'{where}.name={name}', f'{where}.split_by={rest[0]}', f'{where}.split={rest[1]}']


@pytest.mark.slow
def test_a_validation_set(golden, imported, set_name, tmp_path):
    wanted = json.loads((golden.root / 'evaluate.json').read_text())['validation'][set_name]
    items = json.loads((golden.root / 'data' / 'val.json').read_text())['items']
    options = [f'data_root={golden.root / "dataset"}', *options_of(set_name)]
    text = run('tools/test.py', imported, '--split', 'val', '--out', tmp_path / 'scores.json', '--cfg-options', *options)
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert text.splitlines()[-1].endswith(f'n={scores["n"]}')
    assert scores['n'] == sum(image['num_masks'] for image in wanted['per_image'])
    if all(set(item['masks_values']) <= {0, 1, 255} for item in items if item['spec'] == set_name):
        # elsewhere annotations overlap themselves, which the original counts twice (test_generation.py compares those)
        # a pixel whose reference logit is within 1e-3 of 0 may fall on either side
        doubt = sum(image['near_zero_pixels'] / max(1, image['union_bg_fg'][1]) for image in wanted['per_image'])
        assert scores['gIoU'] == pytest.approx(wanted['giou'], abs=1e-6 + doubt)
        assert scores['cIoU'] == pytest.approx(wanted['ciou'], abs=1e-6 + doubt)
