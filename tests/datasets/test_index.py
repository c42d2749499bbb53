"""The state of annotation files, by which an index is found to be old."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.datasets.index import FileState


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / name for name in ('a', 'b')]
    for path in paths:
        path.write_text('1')
        os.utime(path, (1000, 1000))
    return paths


def test_files_as_they_were(files):
    state = FileState.of(files)
    assert state == FileState.of(files) and state.changed(files) == []


@pytest.mark.parametrize('change', ['size', 'time', 'gone'])
def test_the_changed_file_is_named(files, change):
    state = FileState.of(files)
    if change == 'gone':
        files[1].unlink()
    elif change == 'size':
        files[1].write_text('22')
    else:
        os.utime(files[1], (2000, 2000))
    assert state.changed(files) == [files[1]]
    assert state.fingerprint != FileState.of(files).fingerprint


def test_a_file_from_a_wrong_clock_has_changed_too(files):
    state = FileState.of(files)
    os.utime(files[1], (500, 500))  # older than all of them: unknown which
    assert state.changed(files) == files


@pytest.mark.parametrize('cache_index', [True, False])
def test_a_data_set_knows_that_its_file_changed(tmp_path, cache_index):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / 'a.jpg')
    row = {'image': 'a.jpg', 'phrase': 'the thing', 'masks': [[[1, 1, 9, 1, 9, 9]]]}
    file = tmp_path / 'rows.jsonl'
    file.write_text(json.dumps(row) + '\n')
    dataset = JsonlSegDataset(str(tmp_path), file='rows.jsonl', cache_index=cache_index)
    assert len(dataset) == 1 and dataset.changed_files() == []
    file.write_text(json.dumps(row) + '\n\n')
    assert dataset.changed_files() == [file]
