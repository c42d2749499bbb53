"""Shared by all tests: one thread a process, and the table of largest deviations from the golden numbers."""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')

import pytest

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
