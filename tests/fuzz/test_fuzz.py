"""Damaged data sets of every reader: a clear error or a training step, never a traceback, a crash or a flood of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .roots import ROOTS

REPOSITORY = Path(__file__).parents[2]
TRIALS = 1400
MOST_MEMORY = 4e9


@pytest.mark.slow
def test_damaged_data(tmp_path):
    command = [sys.executable, '-m', 'tests.fuzz.trial', '0', str(TRIALS), str(tmp_path)]
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'seed {(tmp_path / "seed").read_text()} ended the process: {done.stderr[-2000:]}'
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('RESULT')).removeprefix('RESULT'))
    assert not result['faults'], '\n\n'.join(f'seed {seed}: {text}' for seed, text in list(result['faults'].items())[:10])
    assert sum(result['outcomes'].values()) == TRIALS
    assert result['outcomes']['refused'] > TRIALS / 4
    assert result['outcomes']['trained'] > TRIALS / 20
    assert result['peak'] < MOST_MEMORY, f'{result["peak"] / 1e9:.1f} GB'


@pytest.mark.parametrize('make', ROOTS)
def test_sound_data_is_accepted(make, tmp_path):
    from mmengine.config import Config

    from lisa_mm.doctor import check

    entry = {**make(tmp_path), 'data_root': str(tmp_path)}
    assert [finding for finding in check(Config(dict(train_dataloader=dict(dataset=entry)))) if finding.level == 'error'] == []
