"""Files written tensor by tensor, read by the safetensors package."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from lisa_mm.checkpoints.safetensors_writer import parse_size, split_shards, write_shards
from lisa_mm.checkpoints.sources import TensorInfo, WeightFiles
from lisa_mm.errors import ConfigError

STATE = {
    'odd': torch.arange(3, dtype=torch.bfloat16),  # 6 bytes: what follows must not lie at an odd place
    'wide': torch.randn(5, 2),
    'scalar': torch.tensor(7.0),
    'empty': torch.zeros(0, 4),
    'ids': torch.arange(4),
    'flags': torch.tensor([True, False, True]),
    'transposed': torch.arange(6.0).reshape(2, 3).T,
}
INFO = {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in STATE.items()}


def test_the_package_reads_what_was_written(tmp_path):
    write_shards(tmp_path, INFO, STATE.__getitem__, max_bytes=10**6)
    read = load_file(tmp_path / 'model.safetensors')
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in STATE.items())


def test_shards_and_index(tmp_path):
    write_shards(tmp_path, INFO, STATE.__getitem__, max_bytes=50)
    index = json.loads((tmp_path / 'model.safetensors.index.json').read_text())
    assert index['metadata']['total_size'] == 6 + 40 + 4 + 0 + 32 + 3 + 24
    # 6 + 40 + 4 + 0 fill a shard of 50; 32 + 3 the next, since 24 more are 59
    assert split_shards(INFO, 50) == [['odd', 'wide', 'scalar', 'empty'], ['ids', 'flags'], ['transposed']]
    files = WeightFiles(tmp_path)
    assert set(files.info) == set(STATE)
    assert all(torch.equal(files.read(name), value) for name, value in STATE.items())


def test_a_tensor_larger_than_a_shard_has_its_own():
    info = {name: TensorInfo((n,), torch.uint8) for name, n in (('a', 9), ('b', 1), ('c', 1))}
    assert split_shards(info, 2) == [['a'], ['b', 'c']]


def test_sizes():
    assert parse_size('500MB') == 500_000_000
    assert parse_size('596.784KB') == 596_784
    for text in ('5', 'GB', '5TB', ''):
        with pytest.raises(ConfigError, match='no size'):
            parse_size(text)
