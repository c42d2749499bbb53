"""benchmarks/speed.py from end to end, at the smallest sizes: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plain.savings import savings_of
from benchmarks.presets import PRESETS, READERS
from benchmarks.speed import PRESETS as NAMES

PROGRAM = Path(__file__).parents[2] / 'benchmarks' / 'speed.py'


def speed(folder, *words):
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    command = [sys.executable, str(PROGRAM), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_command_knows_every_preset():
    assert set(NAMES) == set(PRESETS)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('train', '--rounds', '0'), '--rounds is 0; give at least 1'),
        (('train', '--against', '.'), 'holds no lisa_mm'),
        (('train', '--page', 'page.md'), 'no such file'),
        (('walk',), 'invalid choice'),
        ((), 'work'),
    ],
)
def test_what_is_refused(tmp_path, words, said):
    done = speed(tmp_path, *words)
    assert done.returncode and said in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ('work', 'more'),
    [('train', ['--as-original']), ('validate', ['--as-original']), ('photos', ['--each'])],  # each turn is a new process
)
def test_a_round(tmp_path, work, more):
    (tmp_path / 'page.md').write_text(f'<!-- speed {work} -->\n<!-- end of speed {work} -->\n')
    words = ['--preset', 'tiny', '--rounds', '1', '--steps', '1', '--threads', '1', '--out', 'out', '--page', 'page.md']
    done = speed(tmp_path, work, *more, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    variants = json.loads((tmp_path / 'out' / 'results.json').read_text())[work]['variants']
    cached = ['all savings, features on disk'] if work == 'train' else []
    assert list(variants) == ['as original', *(savings_of(work) if '--each' in more else []), 'all savings', *cached]
    for own in variants.values():
        assert own['seconds'] > 0 and own['peak'] > 2**20 and own['times as fast'] > 0
        if work not in READERS:
            assert own['parts']['mask decoder'] > 0 and own['operations']['mask decoder'] > 0 and own['rate'] > 0
    assert '| all savings |' in (tmp_path / 'page.md').read_text()
    assert (tmp_path / 'out' / 'speed.png').stat().st_size > 1000


@pytest.mark.slow
def test_sixteen_questions_beside_another_checkout(tmp_path):
    (tmp_path / 'there').symlink_to(PROGRAM.parents[1])
    words = ['--preset', 'tiny', '--rounds', '1', '--steps', '1', '--threads', '1', '--out', 'out']
    done = speed(tmp_path, 'questions', *words, '--against', 'there')
    assert done.returncode == 0, done.stderr[-3000:]
    variants = json.loads((tmp_path / 'out' / 'results.json').read_text())['questions']['variants']
    assert len(variants) == 2 and all(own['numbers'] == [16.0, 16.0] for own in variants.values())
