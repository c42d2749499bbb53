"""The golden folder and models built from what it holds; nothing here is tied to one folder's numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .golden import Golden, build_model


@pytest.fixture(scope='session')
def golden() -> Golden:
    """``LISA_MM_GOLDEN``, or the project's copy."""
    root = Path(os.environ.get('LISA_MM_GOLDEN', Path(__file__).parents[1] / 'golden'))
    return Golden(root, json.loads((root / 'train_forward.json').read_text()))


@pytest.fixture(scope='session')
def lora_model(golden):
    """The training model: LoRA around q and v, its state loaded strictly."""
    return build_model(golden)


def pytest_generate_tests(metafunc):
    root = Path(os.environ.get('LISA_MM_GOLDEN', Path(__file__).parents[1] / 'golden'))
    if 'batch_name' in metafunc.fixturenames:
        cases = json.loads((root / 'train_forward.json').read_text())
        metafunc.parametrize('batch_name', [k for k, v in cases.items() if isinstance(v, dict) and 'losses' in v])
    if 'case_name' in metafunc.fixturenames:
        cases = json.loads((root / 'evaluate.json').read_text())['cases']
        metafunc.parametrize('case_name', [case['name'] for case in cases])
    if 'set_name' in metafunc.fixturenames:
        sets = json.loads((root / 'evaluate.json').read_text())['validation']
        metafunc.parametrize('set_name', list(sets))
    if 'collate_name' in metafunc.fixturenames:
        metafunc.parametrize('collate_name', [e['name'] for e in json.loads((root / 'data' / 'collate.json').read_text())])
