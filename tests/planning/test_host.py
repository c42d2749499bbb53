"""The host's memory at the start."""

from __future__ import annotations

import pytest

import lisa_mm
from lisa_mm.config import load_config
from lisa_mm.planning.host import host_memory
from lisa_mm.planning.report import GIB, build_on_shapes, memory_report, memory_text

NANO = lisa_mm.get_config('lisa/lisa_nano')


@pytest.fixture(scope='module')
def parts():
    return load_config(NANO).to_dict()['model']


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_only_what_no_file_holds_belongs_to_the_processes(parts):
    model = build_on_shapes(parts)
    one = host_memory(parts, model, processes=1, half=True, converted=False)
    assert one.private == 0
    assert host_memory(parts, model, processes=4, half=True).private == 4 * 2 * 4 * max(p.numel() for p in model.parameters())

    without = {**parts, 'seg_head': {'type': 'SegTokenHead'}}
    model = build_on_shapes(without)
    three = host_memory(without, model, processes=3, half=True, converted=False)
    assert three.private == 3 * 4 * count(model.seg_head)
    assert three.files < one.files


def test_files_count_once_with_their_size(parts):
    weights = lisa_mm.PACKAGE_DIR / 'weights' / 'nano'
    found = host_memory(parts, build_on_shapes(parts), processes=8, half=True).files
    names = ('projector.safetensors', 'seg_head.safetensors', 'sam.safetensors')
    names += ('vision_tower/model.safetensors', 'language_model/model.safetensors')
    assert found == sum((weights / name).stat().st_size for name in names)


def test_adapters_that_begin_from_weights_need_them_whole(parts):
    parts = {**parts, 'lora': {'r': 4, 'target_modules': ['q_proj'], 'use_dora': True}}
    model = build_on_shapes(parts)
    assert host_memory(parts, model, processes=2, half=True).private == 2 * 4 * count(model)


def test_seven_billion_need_a_tenth_of_eight_copies_in_float32():
    """Vicuna's embeddings and head get three rows each, for which all of them are float32 for a moment."""
    report = memory_report(load_config(lisa_mm.get_config('lisa/lisa_7b_mix')), gpus=8)
    matrix, head, projector = 32003 * 4096, 4096 * 4096 + 4096 + 4096 * 256 + 256, 1024 * 4096 + 4096
    least = 8 * 4 * (2 * matrix + head + 2 * matrix)
    assert least < report['cpu']['loading'] < 1.4 * (least + 8 * 4 * projector)
    assert report['cpu']['loading'] < 230 * GIB / 10
    line = next(line for line in memory_text(report) if 'CPU:' in line)
    assert 'while 8 processes build the model, beside the 14.3 GiB of weight files, which they share' in line
