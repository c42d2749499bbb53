"""The example package: installed into a fresh environment, its own tests pass and its parts train one step."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'examples' / 'my_dataset'


def run(*words):
    done = subprocess.run([str(w) for w in words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_installed_and_trained(tmp_path):
    run(sys.executable, '-m', 'venv', '--system-site-packages', '--without-pip', tmp_path / 'venv')
    python = tmp_path / 'venv' / 'bin' / 'python'
    inner = Path(run(python, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # these tests may run in a virtual environment themselves: its packages and this checkout count as the system's
    (inner / 'outer.pth').write_text(f'{sysconfig.get_path("purelib")}\n{ROOT}\n')
    source = tmp_path / 'source'
    run('cp', '-r', PACKAGE, source)
    run(python, '-m', 'pip', 'install', '--no-deps', '--no-build-isolation', '--no-index', source)
    assert 'my_dataset' in run(python, '-c', 'import my_dataset; print(my_dataset.__file__)')
    run(python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', source / 'tests')
    assert 'gated: A linear projector' in run(python, 'tools/list_parts.py', '--config', PACKAGE / 'config.py')

    options = ['train_cfg.max_iters=1', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += ['train_dataloader.persistent_workers=False']
    work = tmp_path / 'work'
    text = run(python, 'tools/train.py', PACKAGE / 'config.py', '--work-dir', work, '--cfg-options', *options)
    assert 'gIoU' in text
    assert 'RESULT split=test' in run(python, 'tools/test.py', work)
