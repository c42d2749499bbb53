"""The data doctor: sound data has no error, each kind of damage is found with file and record, all in one pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.config import load_config
from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.datasets.masks import decode_mask
from lisa_mm.doctor import check, convert
from lisa_mm.doctor.sets import dataset_configs

from ..datasets.golden_root import GOLDEN, copy_root
from ..fuzz.roots import GROUNDED, muse, sa2va
from .damage import DAMAGES

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs' / 'lisa' / 'lisa_nano_mix.py')
KINDS = 30


def config_for(root):
    return load_config(CONFIG, options=[f'data_root={root}'])


def errors_of(root):
    return [finding for finding in check(config_for(root), workers=1) if finding.level == 'error']


def names(finding, path, record):
    text = f'{finding.file} {finding.record} {finding.problem}'
    return Path(path).name in text and record in text


def test_sound_data_has_no_error():
    assert errors_of(GOLDEN) == []


@pytest.mark.parametrize('kind', sorted(np.random.default_rng(0).choice(sorted(DAMAGES), KINDS, replace=False)))
def test_each_damage_is_found_with_file_and_record(kind, tmp_path):
    root = copy_root(tmp_path / 'root')
    path, record = DAMAGES[kind](root, np.random.default_rng(1))
    found = errors_of(root)
    assert any(names(finding, path, record) or (path.is_dir() and record in finding.record) for finding in found), (
        path,
        record,
        [f.problem for f in found],
    )


def test_several_damages_come_in_one_pass(tmp_path):
    root = copy_root(tmp_path / 'root')
    chosen = ['reason image cut', 'ref without sentences', 'label map in colour', 'llava image missing', 'part image missing']
    wanted = [DAMAGES[kind](root, np.random.default_rng(2)) for kind in chosen]
    found = errors_of(root)
    for path, record in wanted:
        assert any(names(finding, path, record) for finding in found), (path, record)


def test_status_and_json(tmp_path):
    root = copy_root(tmp_path / 'root')
    (root / 'reason_seg/ReasonSeg/val/val_1.jpg').write_bytes(b'')
    command = [sys.executable, 'tools/data.py', 'check', CONFIG, '--json', '--cfg-options', f'data_root={root}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer['errors'] == sum(f['level'] == 'error' for f in answer['findings']) >= 1
    assert any('val_1.jpg' in f['file'] for f in answer['findings'])


def test_converted_data_gives_the_same_masks(tmp_path):
    for split, entry in dataset_configs(config_for(GOLDEN)):
        if split == 'train' and entry['type'] != 'ReasonSegDataset':
            count = convert(entry, tmp_path / 'data.jsonl')
            again = JsonlSegDataset(str(tmp_path), file='data.jsonl', cache_index=False)
            rows = [row for n in range(len(again)) for row in again.rows(again.get_data_info(n))]
            assert len(rows) == count > 0
            check_masks(entry, again)


@pytest.mark.parametrize('make', [muse, *GROUNDED, sa2va], ids=lambda make: make.__name__)
def test_converted_rows_of_several_targets_give_the_same_masks(make, tmp_path):
    entry = {**make(tmp_path), 'data_root': str(tmp_path), 'cache_index': False}
    convert(entry, tmp_path / 'data.jsonl')
    check_masks(entry, JsonlSegDataset(str(tmp_path), file='data.jsonl', cache_index=False))


def check_masks(entry, again):
    from lisa_mm.registry import DATASETS

    first = DATASETS.build(entry)
    ours, theirs = ([mask_sums(d, d.get_data_info(n)) for n in range(len(d))] for d in (first, again))
    assert sorted(total for record in ours for total in record) == sorted(total for record in theirs for total in record)


def mask_sums(dataset, record):
    if record['img_path'] is None:
        return []
    with Image.open(record['img_path']) as image:
        width, height = image.size
    specs = [spec for row in dataset.rows(record) for spec in row['masks']]
    return [int((decode_mask(spec, height, width, 'x') == 1).sum()) for spec in specs]
