"""Shared by all tests: one thread a process, and the table of largest deviations from the golden numbers."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')

import pytest

# the indices of test data are nobody's business after the tests
_CACHE = tempfile.TemporaryDirectory(prefix='lisa_mm_index_')
os.environ.setdefault('LISA_MM_CACHE', _CACHE.name)
_DEVIATIONS: dict[str, float] = {}


@pytest.fixture
def record_deviation():
    """Call with a group and a deviation; the largest of each group is printed at the end."""

    def record(group: str, value: float) -> None:
        _DEVIATIONS[group] = max(_DEVIATIONS.get(group, 0.0), value)

    return record


def pytest_terminal_summary(terminalreporter):
    if _DEVIATIONS:
        terminalreporter.section('largest deviations from the golden numbers')
        for group, value in _DEVIATIONS.items():
            terminalreporter.write_line(f'{group:32s} {value:.2e}')
