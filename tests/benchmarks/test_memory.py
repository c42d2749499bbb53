"""The configurations whose memory is calculated and measured: which were set aside, and that the quick ones agree."""

from __future__ import annotations

import pytest
import torch

from benchmarks.memory.cases import ADDED, CASES, CASES_BY_NAME, HELD_OUT
from benchmarks.memory.compare import calculate
from benchmarks.memory.measure import measure
from benchmarks.memory.start import measure_start, start_source, write_files


def test_half_of_the_configurations_were_set_aside():
    assert len(CASES_BY_NAME) == len(CASES) + len(ADDED)
    assert len(CASES) >= 12
    assert len(HELD_OUT) * 2 == len(CASES)
    for stage in (1, 2, 3):  # each with two processes, on both sides
        sides = {case.name in HELD_OUT for case in CASES if case.zero_stage == stage and case.processes == 2}
        assert sides == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'llama 256x2, SAM encoder at 512 px',
        'llama 256x2, 24 large masks, bf16, ZeRO-2',
        'llama 768x6, LoRA, ZeRO-1 x 2',
        'llama 640x6, LoRA, DDP x 2',
    ],
)
def test_calculated_within_15_percent_of_measured(name):
    """The quick ones, four strategies; tools/benchmark.py memory measures all."""
    case = CASES_BY_NAME[name]
    assert calculate(case) == pytest.approx(measure(case), rel=0.15)


@pytest.mark.slow
def test_two_processes_start_with_little_more_than_one_copy_of_the_files(tmp_path):
    files = write_files(tmp_path, torch.bfloat16)
    size = sum(path.stat().st_size for path in tmp_path.rglob('*') if path.suffix in ('.safetensors', '.pth'))
    memory = measure_start(start_source(files, 'zero2_bf16', train_embeddings=False), 2, size)
    own, pages = (memory.read[key] - memory.before[key] for key in ('private', 'pss'))
    assert memory.calculated < own < memory.calculated + 0.3 * size  # beside weights, Python's own objects
    assert pages < 1.3 * size
