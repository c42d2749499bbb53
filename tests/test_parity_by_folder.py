"""The parity tests hold for any folder: here one with twice the LoRA rank and other names of batches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent


def widen(name: str, value: torch.Tensor) -> torch.Tensor:
    """Twice the rank, the new half zero: the same function, the same gradients but for zeros."""
    if '.lora_A.' in name:
        return torch.cat([value, torch.zeros_like(value)], dim=0)
    if '.lora_B.' in name:
        return torch.cat([value, torch.zeros_like(value)], dim=1)
    return value


def derive(source: Path, target: Path) -> None:
    """Copy a golden folder with another rank and other batch names."""
    shutil.copytree(source, target)
    path = target / 'models' / 'train_state' / 'pytorch_model.bin'
    torch.save({k: widen(k, v) for k, v in torch.load(path, weights_only=True).items()}, path)
    table = json.loads((target / 'train_forward.json').read_text())
    names = [k for k, v in table.items() if isinstance(v, dict) and 'losses' in v]
    renamed = {name: f'case_{i}' for i, name in enumerate(names)}
    for old, new in renamed.items():
        table[new] = table.pop(old)
        folder = target / 'train_forward'
        (folder / f'{old}.npz').rename(folder / f'{new}.npz')
        grads = {k: widen(k, torch.from_numpy(v)).numpy() for k, v in np.load(folder / f'{old}_grads.npz').items()}
        (folder / f'{old}_grads.npz').unlink()
        np.savez(folder / f'{new}_grads.npz', **grads)
    for step in table['trajectory']['steps']:
        step['batch'] = renamed[step['batch']]
    (target / 'train_forward.json').write_text(json.dumps(table))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_another_rank_and_other_names(tmp_path):
    derive(HERE / 'golden', tmp_path / 'second')
    # test_judging scores the same sets without starting the commands again
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        'tests/parity',
        '--ignore=tests/parity/test_tools.py',
    ]
    done = subprocess.run(
        command,
        cwd=HERE.parent,
        env={**os.environ, 'LISA_MM_GOLDEN': str(tmp_path / 'second')},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
