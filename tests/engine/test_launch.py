from __future__ import annotations

import os

import pytest

from lisa_mm.engine import detect_launcher
from lisa_mm.errors import ConfigError

NAMES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LISA_MM_ALONE', 'TORCHELASTIC_RUN_ID')


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [*NAMES, *(name for name in os.environ if name.startswith('SLURM_'))]:
        # set first, so that monkeypatch restores what the test itself sets
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)


def test_python_alone_is_a_world_of_one():
    assert detect_launcher() == 'none'
    assert (os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK']) == ('0', '1', '0')
    port = os.environ['MASTER_PORT']
    assert detect_launcher() == 'none'
    assert os.environ['MASTER_PORT'] == port


def test_torchrun_and_deepspeed(monkeypatch):
    for name, value in {'RANK': '3', 'WORLD_SIZE': '4', 'MASTER_ADDR': 'host', 'MASTER_PORT': '1'}.items():
        monkeypatch.setenv(name, value)
    assert detect_launcher(local_rank=1) == 'pytorch'
    assert os.environ['LOCAL_RANK'] == '1'


def test_torchrun_started_by_a_process_that_was_alone(monkeypatch):
    detect_launcher()
    for name, value in {'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1'}.items():
        monkeypatch.setenv(name, value)
    assert detect_launcher() == 'pytorch'


def test_slurm(monkeypatch):
    values = {'PROCID': '5', 'NTASKS': '8', 'LOCALID': '1', 'JOB_ID': '7', 'JOB_NODELIST': 'node1'}
    for name, value in values.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    assert detect_launcher() == 'slurm'
    found = [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')]
    assert found == ['5', '8', '1', 'node1', '20007']


def test_plain_python_in_a_slurm_shell_is_alone(monkeypatch):
    monkeypatch.setenv('SLURM_NTASKS', '8')
    assert detect_launcher() == 'none'


def test_half_an_environment_is_an_error(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ConfigError, match='RANK is not set'):
        detect_launcher()
