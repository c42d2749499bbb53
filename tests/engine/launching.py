"""Starts toy.py in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TOY = Path(__file__).with_name('toy.py')
_OURS = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LISA_MM_ALONE')


def start(runs: list[dict], *, processes: int = 0) -> subprocess.Popen:
    """Start some runs, one after the other in the same processes; ``processes=0`` is python alone."""
    env = {name: value for name, value in os.environ.items() if name not in _OURS}
    env['OMP_NUM_THREADS'] = '1'
    command = [sys.executable]
    if processes:
        command += ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes)]
    return subprocess.Popen(
        [*command, str(TOY), json.dumps(runs)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen, *, timeout: float = 240) -> None:
    """Wait for a process and check that it ended well."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output[-5000:]


def result(work_dir: Path, rank: int = 0) -> dict:
    """What a run recorded."""
    return json.loads((work_dir / f'result_{rank}.json').read_text())
