"""Detects the launcher of this process and sets one environment for all launchers."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from lisa_mm.errors import ConfigError

LAUNCHERS = ('pytorch', 'mpi', 'slurm', 'none')
# holds the id of the process that set the environment of a world of one
_MADE_UP = 'LISA_MM_ALONE'
_OURS = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
_ALONE = 'Give --launcher none, or unset the variables, to run one process.'
# slurm numbers the shells of sbatch and salloc, which are not steps of srun, from here on
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
# library -> names of rank, number of processes, rank on this machine, processes on this machine
_MPI = {
    'Open MPI': tuple(f'OMPI_COMM_WORLD_{name}' for name in ('RANK', 'SIZE', 'LOCAL_RANK', 'LOCAL_SIZE')),
    'MVAPICH2': tuple(f'MV2_COMM_WORLD_{name}' for name in ('RANK', 'SIZE', 'LOCAL_RANK', 'LOCAL_SIZE')),
    'MPICH': ('PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID', 'MPI_LOCALNRANKS'),
}


@dataclass
class _World:
    rank: int
    size: int
    local_rank: int
    address: str | None = None  # of the first process, where its variables say it
    port: int = 29500


def detect_launcher(local_rank: int | None = None, launcher: str = 'auto') -> str:
    """Find out how the process was started; set missing RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    ``torchrun`` and ``deepspeed`` set RANK and WORLD_SIZE; slurm's ``srun`` and MPI's ``mpirun`` set names of their own; plain
    ``python`` sets nothing and gets the values of a world of one, so that DeepSpeed does not look for MPI. The variables of an
    allocation of slurm (SLURM_NTASKS) do not make several processes: only those of a step (SLURM_STEP_ID) do. Where several
    processes were allocated and one runs, a line on stderr says so.

    Args:
        local_rank: The ``--local_rank`` that a launcher passed; the environment's LOCAL_RANK wins.
        launcher: The name of the launcher, whose variables must be there; ``'auto'`` looks for them.

    Returns:
        ``'pytorch'``, ``'mpi'``, ``'slurm'`` or ``'none'``.

    Raises:
        ConfigError: if the launcher's variables are incomplete or contradict each other.
    """
    if launcher not in ('auto', *LAUNCHERS):
        raise ConfigError(f'launcher is {launcher!r}; it can be auto, {", ".join(LAUNCHERS)}.')
    env = os.environ
    made_up_by = env.get(_MADE_UP)
    if made_up_by == str(os.getpid()) and env.get('WORLD_SIZE') == '1' and launcher in ('auto', 'none'):
        return 'none'
    env.pop(_MADE_UP, None)
    if made_up_by is not None and env.get('WORLD_SIZE') == '1' and 'TORCHELASTIC_RUN_ID' not in env:
        # set by this function in the parent process, whose port is taken
        for name in _OURS:
            env.pop(name, None)
    finders = {'pytorch': _pytorch, 'mpi': _mpi, 'slurm': _slurm}
    if launcher == 'none':
        if 'TORCHELASTIC_RUN_ID' in env and _number('WORLD_SIZE') != 1:
            raise ConfigError(
                f'--launcher none was given, but torchrun started this process as one of {env["WORLD_SIZE"]}. '
                'Leave --launcher out, or start it with python.'
            )
        for name in _OURS:
            env.pop(name, None)
    for name, find in finders.items():
        if launcher not in ('auto', name):
            continue
        world = find(local_rank)
        if world is not None and (world.size > 1 or name in ('pytorch', launcher)):
            _set(world)
            return name
        if world is None and launcher == name:
            raise ConfigError(f'--launcher {name} was given, but {_MISSING[name]}')
    if launcher == 'auto':
        _tell_of_allocation()
    env[_MADE_UP] = str(os.getpid())
    env.setdefault('MASTER_PORT', str(_free_port()))
    _set(_World(0, 1, local_rank or 0, '127.0.0.1'))
    return 'none'


_MISSING = {
    'pytorch': 'RANK and WORLD_SIZE are not set: start with torchrun (torchrun --nproc_per_node=8 tools/train.py CONFIG).',
    'mpi': f'none of {", ".join(names[0] for names in _MPI.values())} is set: start with mpirun '
    '(mpirun -np 8 python tools/train.py CONFIG).',
    'slurm': 'this process is not a task of srun (SLURM_PROCID and SLURM_STEP_ID are not both set, or they belong to a shell of '
    'sbatch or salloc): start with srun (srun --ntasks=8 python tools/train.py CONFIG).',
}


def _pytorch(local_rank: int | None) -> _World | None:
    """The variables of torchrun and deepspeed."""
    rank, size = _number('RANK'), _number('WORLD_SIZE')
    if rank is None and size in (None, 1):
        return None
    for name, value, other in (('RANK', rank, 'WORLD_SIZE'), ('WORLD_SIZE', size, 'RANK')):
        if value is None:
            raise ConfigError(
                f'{other} is {os.environ[other]}, but {name} is not set. Start with torchrun, or set both. {_ALONE}'
            )
    assert rank is not None and size is not None
    own = _number('LOCAL_RANK')
    own = local_rank if own is None else own
    if own is None and size > 1:
        raise ConfigError(
            f'WORLD_SIZE is {size}, but LOCAL_RANK, the number of the process on its machine, which is also its GPU, is not set. '
            f'Start with torchrun, or set it. {_ALONE}'
        )
    return _sane('RANK', 'WORLD_SIZE', _World(rank, size, own or 0, None if size > 1 else '127.0.0.1'))


def _mpi(local_rank: int | None) -> _World | None:
    """The variables of mpirun, of the libraries in use."""
    for library, (rank_name, size_name, local_name, local_size_name) in _MPI.items():
        rank, size = _number(rank_name), _number(size_name)
        if rank is None or size is None:
            continue
        step = _slurm_step()
        if step is not None and step.rank == rank and step.size == size:
            return None  # srun, which speaks MPI's protocol too, and knows the first machine
        own, here = _number(local_name), _number(local_size_name)
        own = local_rank if own is None else own
        if own is None and size > 1:
            own = _number('LOCAL_RANK')
            if own is None:
                raise ConfigError(
                    f'{library} started this process as {rank} of {size}, but {local_name}, the number of the process on its '
                    'machine, is not set: set LOCAL_RANK, or start with torchrun.'
                )
        if size > 1 and here != size and 'MASTER_ADDR' not in os.environ:
            raise ConfigError(
                f'{library} started this process as {rank} of {size} on several machines, but MASTER_ADDR, the name of the '
                'machine of process 0, is not set: set it on all (mpirun -x MASTER_ADDR=HOST, or -genv MASTER_ADDR HOST).'
            )
        return _sane(rank_name, size_name, _World(rank, size, own or 0, '127.0.0.1'))
    return None


def _slurm(local_rank: int | None) -> _World | None:
    """The variables of a step of srun."""
    world = _slurm_step()
    if world is None or world.size == 1:
        return world and _World(0, 1, 0, '127.0.0.1')
    if 'SLURM_PTY_PORT' in os.environ and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError(
            f'this is a terminal of an interactive step (srun --pty) of {world.size} tasks, and it is unknown whether the '
            'others run this program too. Give --launcher none for one process, or start a step for all of them: '
            'srun python tools/train.py CONFIG.'
        )
    world.address = os.environ.get('MASTER_ADDR') or _first_slurm_node()
    # every task of a job computes the same port
    world.port = 20000 + (_number('SLURM_JOB_ID') or 0) % 20000
    return world


def _slurm_step() -> _World | None:
    step = _number('SLURM_STEP_ID' if 'SLURM_STEP_ID' in os.environ else 'SLURM_STEPID')
    rank = _number('SLURM_PROCID')
    if step is None or rank is None or step >= _FIRST_SPECIAL_STEP:
        return None
    size, own = _number('SLURM_STEP_NUM_TASKS'), _number('SLURM_LOCALID')
    for name, value in (('SLURM_STEP_NUM_TASKS', size), ('SLURM_LOCALID', own)):
        if value is None:
            raise ConfigError(f'SLURM_PROCID is {rank} and SLURM_STEP_ID {step}, but {name} is not set. {_ALONE}')
    assert size is not None and own is not None
    return _sane('SLURM_PROCID', 'SLURM_STEP_NUM_TASKS', _World(rank, size, own))


def _tell_of_allocation() -> None:
    """Say that one process runs where slurm has allocated several."""
    tasks = _number('SLURM_NTASKS')
    if tasks is not None and tasks > 1 and _slurm_step() is None:
        print(
            f'found SLURM_NTASKS={tasks}, but this process was not started by srun: one process runs. '
            f'For {tasks}: srun python tools/train.py CONFIG, or torchrun.',
            file=sys.stderr,
        )


def _number(name: str) -> int | None:
    """A variable that is a whole number >= 0; None if it is not set."""
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.strip().isdecimal():
        raise ConfigError(f'the environment has {name}={text!r}, which is not a whole number. {_ALONE}')
    return int(text)


def _sane(rank_name: str, size_name: str, world: _World) -> _World:
    if world.size < 1 or world.rank >= world.size:
        raise ConfigError(
            f'the environment has {rank_name}={world.rank} and {size_name}={world.size}: '
            f'processes are numbered from 0 to {size_name} - 1. {_ALONE}'
        )
    if world.local_rank >= world.size:
        raise ConfigError(f'LOCAL_RANK is {world.local_rank}, but there are {world.size} processes in all. {_ALONE}')
    return world


def _set(world: _World) -> None:
    env = os.environ
    env |= {'RANK': str(world.rank), 'WORLD_SIZE': str(world.size), 'LOCAL_RANK': str(world.local_rank)}
    if world.address is not None:
        env.setdefault('MASTER_ADDR', world.address)
    if not env.get('MASTER_ADDR'):
        raise ConfigError(
            f'WORLD_SIZE is {env["WORLD_SIZE"]}, but MASTER_ADDR, the machine of process 0, is not set. '
            'Start with torchrun, or set it.'
        )
    env.setdefault('MASTER_PORT', str(world.port if world.size > 1 else _free_port()))
    port = _number('MASTER_PORT') or 0
    if not 0 < port < 65536:
        raise ConfigError(f'MASTER_PORT is {port}; a port is 1 to 65535.')


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return int(listener.getsockname()[1])


def _first_slurm_node() -> str:
    names = ('SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST', 'SLURM_NODELIST')
    nodes = next((os.environ[name] for name in names if os.environ.get(name)), '')
    if not nodes:
        raise ConfigError(f'srun started several tasks, but none of {", ".join(names)} is set: set MASTER_ADDR.')
    if '[' not in nodes and ',' not in nodes:
        return nodes
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise ConfigError(
            f'the first machine of {nodes} is unknown, for "{" ".join(command)}" failed ({error}): set MASTER_ADDR to its name.'
        ) from error


def join_group(launcher: str) -> None:
    """Join the other processes of an evaluation; a single process needs no group."""
    import torch

    if launcher != 'none' and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
        leave_group_at_exit()


def leave_group_at_exit() -> None:
    """Leave the process group before the interpreter exits: gloo's threads sometimes outlive it and abort a finished run."""
    # only once, however many strategies a process builds
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)


def _leave_group() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
