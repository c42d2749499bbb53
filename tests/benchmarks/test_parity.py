"""The stage parity of benchmarks/gpu/run.py: what it finds, and that it hides nothing."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.answers import read_evaluation

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'benchmarks' / 'gpu' / 'stages'))

import parity  # noqa: E402


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def reference():
    return parity.Reference(small=True)


def test_small_stage(tmp_path):
    """Float32 holds in all its rows; bfloat16 is reported."""
    parity.main({'device': 'cpu', 'small': True, 'rows': str(tmp_path / 'rows.jsonl')})
    rows = rows_of(tmp_path / 'rows.jsonl')
    float32 = [row for row in rows if row['case'].startswith('float32: ')]
    assert len(float32) == len({row['case'] for row in float32}) == 9
    assert {row['status'] for row in float32} == {'holds'}
    others = [row['status'] for row in rows if row not in float32]
    assert others == ['reported'] * 4


def test_nan_is_the_worst():
    assert math.isnan(parity.worst([1.0, math.nan, 2.0]))
    assert math.isnan(parity.worst([math.nan, 1.0]))
    assert math.isnan(parity.worst([]))
    assert parity.worst([1.0, 3.0, 2.0]) == 3.0
    assert math.isnan(parity.largest(np.array([0.0, np.nan]), np.array([0.0, 5.0])))
    assert parity.largest(np.zeros((1, 2)), np.zeros((2, 2))) == math.inf


def test_masks_of_nan_do_not_hold(reference, tmp_path):
    """An empty mask, which NaN > 0 is, equals the original's in many images."""
    model = reference.model('merged', torch.float32, 'cpu')
    for parameter in model.mask_decoder.parameters():
        parameter.data.fill_(math.nan)
    path = tmp_path / 'rows.jsonl'
    parity.answer(reference, {'rows': str(path)}, 'x', model, judged=True)
    parity.evaluate(reference, {'rows': str(path)}, 'x', model, judged=True)
    status = {row['case']: row['status'] for row in rows_of(path)}
    assert status['x: generated ids'] == status['x: generation, step logits'] == 'holds'
    assert {status[f'x: {key}'] for key in ('generation, mask logits', *parity.VALIDATION)} == {'DOES NOT HOLD'}


def test_an_answer_that_goes_another_way(reference, tmp_path):
    """Its logits are compared up to the first token that differs: they are those of equal rows."""
    model = reference.model('merged', torch.float32, 'cpu')
    _, arrays = read_evaluation(reference.golden)
    case = reference.cases[0]
    first = arrays[f'{case["name"]}:input_ids'].shape[1]
    ids = arrays[f'{case["name"]}:output_ids'][0].copy()
    ids[first + 2] += 1
    changed = {**arrays, f'{case["name"]}:output_ids': ids[None]}
    late = changed[f'{case["name"]}:generated_logits_logsumexp'].copy()
    late[3:] += 1.0
    changed[f'{case["name"]}:generated_logits_logsumexp'] = late
    tokenizer = parity.build_tokenizer(**model.mllm.tokenizer_spec)
    found = parity.answered_case(reference.golden, case, changed, model, tokenizer)
    assert found['differing ids'] == [1.0]
    assert parity.worst(found['generation, step logits']) < 1e-4
    assert 'generation, mask logits' not in found
