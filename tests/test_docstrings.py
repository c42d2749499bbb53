"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ('lisa_mm', 'projects') for path in (ROOT / folder).rglob('*.py'))
FILES = [path for path in SOURCES if '>>> ' in path.read_text(encoding='utf-8')]
NAMES = ['.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__') for path in FILES]


@pytest.mark.parametrize('name', NAMES)
def test_the_examples_of(name):
    failed, attempted = doctest.testmod(import_module(name))
    assert attempted > 0, 'its examples stand in no docstring that doctest finds'
    assert failed == 0


@pytest.mark.parametrize('path', FILES, ids=NAMES)
def test_none_is_skipped(path):
    assert '+SKIP' not in path.read_text(encoding='utf-8'), 'an example that cannot run is written without >>>'
