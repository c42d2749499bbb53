"""Which process wrote something, whether it still lives, and errors that all processes of a run raise together."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_world_size

from lisa_mm.errors import UserError


def process_mark() -> dict[str, Any]:
    """Names this process for good: ``host``, ``machine``, ``pid`` and ``started``, for a process id is used again."""
    return {'host': socket.gethostname(), 'machine': _machine(), 'pid': os.getpid(), 'started': _started(os.getpid())}


def is_gone(mark: dict[str, Any]) -> bool | None:
    """Whether a process has ended; None if it is (or was) on another machine, in another container, or before a restart."""
    if (mark.get('host'), mark.get('machine')) != (socket.gethostname(), _machine()):
        return None
    started = _started(mark['pid'])
    return started is None or started != mark['started']


def _machine() -> str:
    """A running kernel and the name space of its process ids: containers share the first, and restarts the host's name."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.stat("/proc/self/ns/pid").st_ino}'
    except OSError:  # not Linux
        return ''


def _started(pid: int) -> str | None:
    """When a process of this machine started, in ticks of its kernel, which no change of the clock moves; None if it is gone."""
    try:
        # the name, in parentheses, may hold anything
        fields = Path(f'/proc/{pid}/stat').read_text(errors='replace').rpartition(')')[2].split()
    except OSError:
        if Path('/proc/self/stat').exists():
            return None
        try:  # not Linux: only whether it lives
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return 'unknown'
    return None if fields[0] in 'ZX' else fields[19]


@contextmanager
def together() -> Iterator[None]:
    """Around work that may fail on one process alone: its error is raised on all, which otherwise would wait for it.

    All processes must enter it, and none leaves it before the last one has come.

    Raises:
        UserError: on the processes without a fault.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    texts = [None] if get_world_size() == 1 else all_gather_object(None if error is None else f'{error}')
    if error is not None:
        raise error
    for rank, text in enumerate(texts):
        if text is not None:
            raise UserError(f'process {rank}: {text}')
