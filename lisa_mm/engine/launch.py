"""Detects the launcher of this process and sets one environment for all launchers."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess

from lisa_mm.errors import ConfigError

# holds the id of the process that set the environment of a world of one
_MADE_UP = 'LISA_MM_ALONE'


def detect_launcher(local_rank: int | None = None) -> str:
    """Detect how the process was started; set missing RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    ``torchrun`` and ``deepspeed`` set RANK and WORLD_SIZE, slurm's ``srun`` sets its own names; plain ``python`` sets nothing and
    gets the values of a world of one, so that DeepSpeed does not look for MPI.

    Args:
        local_rank: The ``--local_rank`` that a launcher passed; the environment's LOCAL_RANK wins.

    Returns:
        ``'pytorch'``, ``'slurm'`` or ``'none'``.

    Raises:
        ConfigError: if only some of a launcher's variables are set.
    """
    env = os.environ
    made_up_by = env.pop(_MADE_UP, None)
    if made_up_by is not None and env.get('WORLD_SIZE') == '1' and 'TORCHELASTIC_RUN_ID' not in env:
        # set by this function, in an earlier call or in the parent process, whose port is taken
        env[_MADE_UP] = str(os.getpid())
        if made_up_by != str(os.getpid()):
            env['MASTER_PORT'] = str(_free_port())
        return 'none'
    if 'RANK' in env and 'WORLD_SIZE' in env:
        if int(env['WORLD_SIZE']) > 1 and 'MASTER_ADDR' not in env:
            raise ConfigError(f'WORLD_SIZE is {env["WORLD_SIZE"]}, but MASTER_ADDR is not set. Start with torchrun, or set both.')
        _set_defaults(rank=int(env['RANK']), local_rank=local_rank or 0, world_size=int(env['WORLD_SIZE']))
        return 'pytorch'
    if 'WORLD_SIZE' in env and int(env['WORLD_SIZE']) > 1:
        raise ConfigError(f'WORLD_SIZE is {env["WORLD_SIZE"]}, but RANK is not set. Start with torchrun, or set both.')
    # a shell of salloc has SLURM_NTASKS but no SLURM_PROCID: plain python in it is one process
    if 'SLURM_PROCID' in env and int(env.get('SLURM_NTASKS', '1')) > 1:
        env.setdefault('MASTER_ADDR', _first_slurm_node())
        # every task of a job computes the same port
        env.setdefault('MASTER_PORT', str(20000 + int(env.get('SLURM_JOB_ID', '0')) % 20000))
        _set_defaults(
            rank=int(env['SLURM_PROCID']), local_rank=int(env.get('SLURM_LOCALID', '0')), world_size=int(env['SLURM_NTASKS'])
        )
        return 'slurm'
    env[_MADE_UP] = str(os.getpid())
    _set_defaults(rank=0, local_rank=local_rank or 0, world_size=1)
    return 'none'


def _set_defaults(*, rank: int, local_rank: int, world_size: int) -> None:
    os.environ.setdefault('RANK', str(rank))
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    os.environ.setdefault('WORLD_SIZE', str(world_size))
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    if 'MASTER_PORT' not in os.environ:
        os.environ['MASTER_PORT'] = str(_free_port() if world_size == 1 else 29500)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return int(listener.getsockname()[1])


def _first_slurm_node() -> str:
    nodes = os.environ.get('SLURM_JOB_NODELIST') or os.environ.get('SLURM_NODELIST', '')
    if '[' not in nodes and ',' not in nodes:
        return nodes or '127.0.0.1'
    return subprocess.run(['scontrol', 'show', 'hostnames', nodes], check=True, capture_output=True, text=True).stdout.split()[0]


def leave_group_at_exit() -> None:
    """Leave the process group before the interpreter exits: gloo's threads sometimes outlive it and abort a finished run."""
    # only once, however many strategies a process builds
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)


def _leave_group() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
