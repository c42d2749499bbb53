"""The bytes that each ZeRO stage sends, and the tables of a small config."""

from __future__ import annotations

import pytest

from benchmarks import paper
from benchmarks.paper import Sizes, bytes_sent


@pytest.mark.parametrize(('stage', 'expected'), [(0, 15.0), (1, 15.0), (2, 37.5), (3, 4 * (3 * 10 + 2 * 100) * 0.75)])
def test_bytes_sent(stage, expected):
    assert bytes_sent(stage, Sizes(trained=10, frozen=100, micro_batches=4, gpus=4)) == expected


@pytest.mark.parametrize('stage', [0, 1, 2, 3])
def test_one_gpu_sends_nothing(stage):
    assert bytes_sent(stage, Sizes(trained=10, frozen=100, micro_batches=80, gpus=1)) == 0


@pytest.mark.slow
def test_the_published_7b():
    rows = paper.operations_table(('lisa_7b_mix',))
    parts = {row[0]: [float(cell) for cell in row[1:]] for row in rows[1:]}
    assert parts['language model'][1] < 0.75 * parts['language model'][0]  # 3 rows of 256 image tokens share them
    assert parts["SAM's image encoder"][0] == parts["SAM's image encoder"][1]
    table = paper.scaling_table(('lisa_7b_mix',))
    assert len(table) == 1 + 1 + 4 + 4
    by = {(row[1], row[3]): row for row in table[1:]}
    assert float(by['8', '3'][4]) < float(by['8', '2'][4]) < float(by['8', '0'][4])
    assert by['1', '2'][2] == '80' and by['64', '2'][2] == '1'
