"""What `pip install` gets: the package, its configs and the nano weights, and nothing of the rest of the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of the wheel, built from a copy: build/ of an earlier one would lend it files that are gone."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    for name in ('lisa_mm', 'configs', 'projects', 'tools', 'benchmarks', 'examples'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'))
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = out.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def below(folder: str) -> set[str]:
    """Files of the checkout, but for what Python has compiled."""
    files = (path for path in (ROOT / folder).rglob('*') if path.is_file() and '__pycache__' not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_is_the_package(names: set[str]) -> None:
    assert {name.split('/')[0] for name in names if '.dist-info/' not in name} == {'lisa_mm'}
    assert below('lisa_mm') | {f'lisa_mm/{name}' for name in below('configs')} == {n for n in names if '.dist-info/' not in n}


def test_the_nano_weights_are_in_the_wheel_and_the_drawing_program_is_not(names: set[str]) -> None:
    weights = below('lisa_mm/weights')
    assert len(weights) == 18  # 10 of the nano parts, 8 of the trained model with its example
    assert weights <= names
    assert {'lisa_mm/configs/lisa/lisa_nano.py', 'lisa_mm/datasets/classes/ade20k.txt', 'lisa_mm/py.typed'} <= names
    assert {f'lisa_mm/weights/lisa_nano/example.{suffix}' for suffix in ('jpg', 'json')} <= names
    others = {name for name in names if not name.startswith('lisa_mm/demo/')}  # the web demo
    assert not [name for name in others if 'demo' in name or 'emoji/' in name or 'aligning' in name or 'gguf' in name]
