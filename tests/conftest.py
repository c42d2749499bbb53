"""Shared by all tests: one thread a process, and the table of largest deviations from the golden numbers."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MKL_NUM_THREADS', '1')
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')

import pytest

# the indices of test data are nobody's business after the tests
_CACHE = tempfile.TemporaryDirectory(prefix='lisa_mm_index_')
os.environ.setdefault('LISA_MM_CACHE', _CACHE.name)
_DEVIATIONS: dict[str, float] = {}


@pytest.fixture(scope='session')
def demo(tmp_path_factory):
    """The demo set with six scenes a split."""
    from projects.nano.demo.writer import write_demo  # not needed by most tests

    root = tmp_path_factory.mktemp('demo')
    write_demo(root, limit=6)
    return root


@pytest.fixture
def record_deviation():
    """Call with a group and a deviation; the largest of each group is printed at the end."""

    def record(group: str, value: float) -> None:
        _DEVIATIONS[group] = max(_DEVIATIONS.get(group, 0.0), value)

    return record


def pytest_sessionfinish(session):
    if hasattr(session.config, 'workeroutput'):  # a worker of pytest-xdist: its table travels to the process that prints
        session.config.workeroutput['deviations'] = _DEVIATIONS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    # a worker that crashed has no table; its tests are reported as failed
    for group, value in getattr(node, 'workeroutput', {}).get('deviations', {}).items():
        _DEVIATIONS[group] = max(_DEVIATIONS.get(group, 0.0), value)


def pytest_terminal_summary(terminalreporter):
    if _DEVIATIONS:
        terminalreporter.section('largest deviations from the golden numbers')
        for group, value in sorted(_DEVIATIONS.items()):
            terminalreporter.write_line(f'{group:32s} {value:.2e}')
