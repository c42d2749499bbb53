from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from lisa_mm.engine import detect_launcher
from lisa_mm.errors import ConfigError

NAMES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LISA_MM_ALONE', 'TORCHELASTIC_RUN_ID')
PREFIXES = ('SLURM_', 'OMPI_', 'MV2_', 'PMI_', 'MPI_')
# what srun sets in the second task of a step of two on the second machine of an allocation of eight tasks
STEP = {
    'SLURM_JOB_ID': '7',
    'SLURM_NTASKS': '8',
    'SLURM_JOB_NODELIST': 'node[1-4]',
    'SLURM_STEP_ID': '3',
    'SLURM_STEP_NUM_TASKS': '2',
    'SLURM_STEP_NODELIST': 'node2',
    'SLURM_PROCID': '1',
    'SLURM_LOCALID': '1',
}
# a batch script, and a shell of salloc
BATCH = {'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '8', 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0', 'SLURM_JOB_NODELIST': 'node1'}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [*NAMES, *(name for name in os.environ if name.startswith(PREFIXES))]:
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


def put(monkeypatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def found() -> list[str]:
    return [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')]


@pytest.mark.parametrize('launcher', ['auto', 'slurm'])
def test_a_step_of_slurm_not_its_allocation(monkeypatch, capsys, launcher):
    put(monkeypatch, STEP)
    assert detect_launcher(launcher=launcher) == 'slurm'
    assert found() == ['1', '2', '1', 'node2', '20007']
    assert capsys.readouterr().err == ''


def test_slurm_wins_over_a_left_over_rank_where_it_is_named(monkeypatch):
    put(monkeypatch, {**STEP, 'RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': 'host'})
    assert detect_launcher(launcher='slurm') == 'slurm'
    assert found()[:4] == ['1', '2', '1', 'host']


@pytest.mark.parametrize(
    'values',
    [
        {'SLURM_NTASKS': '8'},
        BATCH,
        {**BATCH, 'SLURM_STEP_ID': '4294967291', 'SLURM_STEP_NUM_TASKS': '1'},  # slurm's number of a batch script
        {**BATCH, 'SLURM_STEPID': '4294967290', 'SLURM_STEP_NUM_TASKS': '1'},  # and of salloc's shell
    ],
)
def test_plain_python_in_an_allocation_is_alone_and_says_so(monkeypatch, capsys, values):
    put(monkeypatch, values)
    assert detect_launcher() == 'none'
    assert os.environ['WORLD_SIZE'] == '1'
    said = capsys.readouterr().err
    assert said.startswith('found SLURM_NTASKS=8, but this process was not started by srun: one process runs. For 8: srun')
    # said once
    assert detect_launcher() == 'none'
    assert capsys.readouterr().err == ''


def test_plain_python_in_a_step_of_one_task_is_alone(monkeypatch, capsys):
    put(monkeypatch, {**STEP, 'SLURM_STEP_NUM_TASKS': '1', 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'})
    assert detect_launcher() == 'none'
    assert found()[:4] == ['0', '1', '0', '127.0.0.1']
    assert capsys.readouterr().err == ''
    os.environ.pop('LISA_MM_ALONE')
    assert detect_launcher(launcher='slurm') == 'slurm'


def test_srun_started_by_a_process_that_was_alone(monkeypatch):
    detect_launcher()
    put(monkeypatch, {**STEP, 'LISA_MM_ALONE': '1'})
    assert detect_launcher() == 'slurm'
    assert found()[:4] == ['1', '2', '1', 'node2']


def test_a_terminal_of_a_step_of_several_tasks_is_not_guessed_at(monkeypatch):
    put(monkeypatch, {**STEP, 'SLURM_PTY_PORT': '99'})
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(isatty=lambda: False))
    assert detect_launcher() == 'slurm'  # a step inside such a terminal
    for name in NAMES:
        os.environ.pop(name, None)
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(isatty=lambda: True))
    with pytest.raises(ConfigError, match=r'interactive step \(srun --pty\) of 2 tasks.*--launcher none'):
        detect_launcher()


def test_none_by_name_is_alone_whatever_the_environment_says(monkeypatch):
    put(monkeypatch, {**STEP, 'RANK': '3', 'WORLD_SIZE': '8', 'MASTER_ADDR': 'host', 'LOCAL_RANK': '3'})
    assert detect_launcher(launcher='none') == 'none'
    assert found()[:4] == ['0', '1', '0', '127.0.0.1']
    assert detect_launcher() == 'none'


OPEN_MPI = {'OMPI_COMM_WORLD_RANK': '5', 'OMPI_COMM_WORLD_SIZE': '8', 'OMPI_COMM_WORLD_LOCAL_RANK': '1'}
INTEL = {'PMI_RANK': '5', 'PMI_SIZE': '8', 'MPI_LOCALRANKID': '1'}
MVAPICH = {name.replace('OMPI', 'MV2'): value for name, value in OPEN_MPI.items()}


@pytest.mark.parametrize('values', [OPEN_MPI, INTEL, MVAPICH])
def test_mpi(monkeypatch, values):
    put(monkeypatch, values)
    with pytest.raises(ConfigError, match=r'as 5 of 8 on several machines, but MASTER_ADDR.*is not set'):
        detect_launcher()
    monkeypatch.setenv('MASTER_ADDR', 'host')
    assert detect_launcher() == 'mpi'
    assert found() == ['5', '8', '1', 'host', '29500']


def test_mpi_on_one_machine_needs_no_address(monkeypatch):
    put(monkeypatch, {**OPEN_MPI, 'OMPI_COMM_WORLD_LOCAL_SIZE': '8'})
    # Open MPI in an allocation of slurm starts its own daemons as a step, whose numbers are not the processes'
    put(monkeypatch, {**STEP, 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'})
    assert detect_launcher() == 'mpi'
    assert found()[:4] == ['5', '8', '1', '127.0.0.1']


def test_srun_that_also_speaks_mpis_protocol_is_slurm(monkeypatch):
    put(monkeypatch, {**STEP, 'PMI_RANK': '1', 'PMI_SIZE': '2'})
    assert detect_launcher() == 'slurm'


def test_mpi_without_the_rank_on_the_machine(monkeypatch):
    put(monkeypatch, {'PMI_RANK': '1', 'PMI_SIZE': '2', 'MASTER_ADDR': 'host'})
    with pytest.raises(ConfigError, match=r'MPI_LOCALRANKID.*is not set: set LOCAL_RANK'):
        detect_launcher()


WORLD = {'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1', 'MASTER_ADDR': 'host'}


@pytest.mark.parametrize(
    ('values', 'launcher', 'message'),
    [
        ({'WORLD_SIZE': '2'}, 'auto', 'WORLD_SIZE is 2, but RANK is not set'),
        ({'RANK': '0'}, 'auto', 'RANK is 0, but WORLD_SIZE is not set'),
        ({**WORLD, 'RANK': 'abc'}, 'auto', "RANK='abc', which is not a whole number"),
        ({**WORLD, 'RANK': '-1'}, 'auto', "RANK='-1', which is not a whole number"),
        ({**WORLD, 'LOCAL_RANK': ''}, 'auto', "LOCAL_RANK='', which is not a whole number"),
        ({**WORLD, 'WORLD_SIZE': '0'}, 'auto', 'RANK=1 and WORLD_SIZE=0: processes are numbered from 0'),
        ({**WORLD, 'RANK': '2'}, 'auto', 'RANK=2 and WORLD_SIZE=2: processes are numbered from 0'),
        ({**WORLD, 'LOCAL_RANK': '2'}, 'auto', 'LOCAL_RANK is 2, but there are 2 processes'),
        ({**WORLD, 'MASTER_PORT': '0'}, 'auto', 'MASTER_PORT is 0'),
        ({**WORLD, 'MASTER_PORT': 'http'}, 'auto', "MASTER_PORT='http'"),
        ({name: value for name, value in WORLD.items() if name != 'LOCAL_RANK'}, 'auto', 'LOCAL_RANK, the number'),
        (
            {name: value for name, value in WORLD.items() if name != 'MASTER_ADDR'},
            'auto',
            'MASTER_ADDR, the machine of process 0',
        ),
        ({**STEP, 'SLURM_PROCID': '2'}, 'auto', 'SLURM_PROCID=2 and SLURM_STEP_NUM_TASKS=2'),
        ({**STEP, 'SLURM_PROCID': 'x'}, 'auto', "SLURM_PROCID='x'"),
        ({name: value for name, value in STEP.items() if name != 'SLURM_LOCALID'}, 'auto', 'SLURM_LOCALID is not set'),
        ({name: value for name, value in STEP.items() if 'NODELIST' not in name}, 'auto', 'none of SLURM_STEP_NODELIST'),
        ({**STEP, 'SLURM_STEP_NODELIST': 'node[1-2]', 'PATH': ''}, 'auto', r'first machine of node\[1-2\] is unknown'),
        ({**OPEN_MPI, 'OMPI_COMM_WORLD_RANK': '8', 'MASTER_ADDR': 'host'}, 'auto', 'OMPI_COMM_WORLD_RANK=8'),
        ({}, 'pytorch', 'RANK and WORLD_SIZE are not set: start with torchrun'),
        ({}, 'slurm', 'is not a task of srun'),
        (BATCH, 'slurm', 'is not a task of srun'),
        (STEP, 'mpi', 'none of OMPI_COMM_WORLD_RANK, MV2_COMM_WORLD_RANK, PMI_RANK is set'),
        ({}, 'ssh', "launcher is 'ssh'; it can be auto, pytorch, mpi, slurm, none"),
        ({**WORLD, 'TORCHELASTIC_RUN_ID': '1'}, 'none', 'torchrun started this process as one of 2'),
    ],
)
def test_an_incomplete_or_contradictory_environment_is_one_sentence(monkeypatch, values, launcher, message):
    put(monkeypatch, values)
    with pytest.raises(ConfigError, match=message) as caught:
        detect_launcher(launcher=launcher)
    assert '\n' not in str(caught.value)
