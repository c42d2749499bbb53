"""Seeded damage to configs: one error each, that names the key, what was given, and a remedy; never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lisa_mm
from lisa_mm.apis.checking import check_config, report_text
from lisa_mm.apis.training import build_runner
from lisa_mm.config import load_config
from lisa_mm.errors import ConfigError

from .broken import KINDS, Damage, damages

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get('LISA_MM_DAMAGE_SEED', '7'))
THROUGH_THE_COMMAND = ('text_that_is_no_python', 'misspelt_part_key', 'missing_base_file')


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """A copy of configs/, for files with changed texts."""
    root = tmp_path_factory.mktemp('broken')
    shutil.copytree(ROOT / 'configs', root / 'configs')
    return root / 'configs' / 'lisa'


def cases(seed: int) -> list:
    return [pytest.param(damage, id=damage.kind) for damage in damages(seed)]


def file_of(damage: Damage, configs: Path) -> Path:
    if damage.text is None:
        return damage.config
    path = configs / f'{damage.kind}.py'
    path.write_text(damage.text)
    return path


def assert_says(text: str, damage: Damage) -> None:
    assert 'Traceback' not in text
    assert damage.key in text, (damage.key, text)
    assert damage.value in text, (damage.value, text)
    assert any(remedy in text for remedy in damage.remedy.split('|')), (damage.remedy, text)


def test_there_are_25_kinds_and_more():
    assert len(KINDS) >= 25


@pytest.mark.parametrize('damage', cases(SEED))
def test_check_config_names_key_value_and_remedy(damage, configs):
    report = check_config(file_of(damage, configs), options=damage.options)
    assert not report['ok']
    assert report['faults']
    assert_says('\n'.join(report['faults']), damage)
    assert report_text(report).endswith('not checked')


@pytest.mark.parametrize('damage', cases(SEED + 1))
def test_training_ends_with_the_same_before_it_begins(damage, configs, tmp_path):
    path = file_of(damage, configs)
    with pytest.raises(ConfigError) as caught:
        build_runner(load_config(path, options=damage.options), tmp_path, launcher='none')
    assert_says(str(caught.value), damage)


@pytest.mark.slow
@pytest.mark.parametrize('name', THROUGH_THE_COMMAND)
def test_the_command_exits_with_1(name, configs):
    damage = next(damage for damage in damages(SEED) if damage.kind == name)
    command = [sys.executable, 'tools/check_config.py', str(file_of(damage, configs))]
    command += ['--cfg-options', *damage.options] if damage.options else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert_says(done.stdout + done.stderr, damage)


def test_the_undamaged_configs_have_no_fault():
    for name in ('lisa_nano_pretrain', 'lisa_7b_mix'):
        assert check_config(lisa_mm.get_config(f'lisa/{name}'))['faults'] == []
