"""What has happened to a run, in one sentence: a full disk, a data worker or a process that was killed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from lisa_mm.checkpoints.folder import list_checkpoints, split_state
from lisa_mm.errors import DataError, UserError, WorkFolderError

from .processes import is_gone

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_PROBE = 1 << 20
_PATIENCE = 5.0  # seconds in which a process that was killed is seen to be gone


def checkpoint_bytes(model: nn.Module, optimizer: Any = None) -> int:
    """A lower bound of a checkpoint's size: trained tensors in float32, and with an Adam its two moments.

    Args:
        model: The model, sharded or not.
        optimizer: The optimizer, if its state is written too.
    """
    count = sum(getattr(value, 'ds_numel', value.numel()) for value in split_state(model)[0].values())
    groups = getattr(optimizer, 'param_groups', [])
    return 4 * count * (3 if any('betas' in group for group in groups) else 1)


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def refuse_full_disk(final: Path, needed: int) -> None:
    """Raise a WorkFolderError if a checkpoint does not fit on the disk.

    Args:
        final: The checkpoint's folder.
        needed: Its size in bytes.
    """
    free = shutil.disk_usage(final.parent).free
    if free < needed:
        raise WorkFolderError(
            f'{final.name} needs at least {_size(needed)}, but {_size(free)} is free in {final.parent}. '
            f'{_what_to_do(final.parent)}'
        )


def explain_writing(error: Exception, final: Path, needed: int) -> WorkFolderError | None:
    """The sentence for an error while a checkpoint was written; None if the file system was not its reason."""
    reason = None
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        reason = error.strerror
    elif isinstance(error, SafetensorError):
        found = re.search(r'I/O error: (.*) \(os error \d+\)', str(error))
        reason = found and found[1]
    elif isinstance(error, RuntimeError) and re.search('inline_container|iostream error', str(error)):
        reason = _why_not(final.parent) or 'torch could not write all of a file'  # torch does not say why
    if reason is None:
        return None
    free = shutil.disk_usage(final.parent).free
    return WorkFolderError(
        f'{final.name} was not written: {reason}. It needs at least {_size(needed)}; {_size(free)} is free in {final.parent}. '
        f'{_what_to_do(final.parent)}'
    )


def _why_not(folder: Path) -> str | None:
    probe = folder / f'.tmp_probe_{os.getpid()}'
    try:
        probe.write_bytes(bytes(_PROBE))
    except OSError as error:
        return error.strerror
    finally:
        probe.unlink(missing_ok=True)
    return None


def _what_to_do(work_dir: Path) -> str:
    whole = list_checkpoints(work_dir)
    earlier = f'The earlier checkpoints are whole (last: {whole[-1].name}). ' if whole else ''
    return f'{earlier}Make room, then go on with the same command and --resume; or give another --work-dir.'


def explain(error: Exception, marks: Sequence[dict[str, Any]], iteration: int) -> UserError | None:
    """The sentence for an error that ended a run; None if the error speaks for itself.

    Args:
        error: What was raised.
        marks: All processes of the run, by rank, from :func:`.processes.process_mark`.
        iteration: Optimizer steps done.
    """
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        name = f' {error.filename}' if error.filename else ''
        return WorkFolderError(f'in iteration {iteration + 1}, a file{name} could not be used: {error.strerror}. {_GO_ON}')
    if isinstance(error, UserError) and str(error).startswith('Caught '):  # by torch, in a data worker, with its traceback
        kind = type(error)
        return DataError(str(error).rpartition(f'{kind.__module__}.{kind.__qualname__}: ')[2].strip())
    if not isinstance(error, RuntimeError):
        return None
    if 'DataLoader worker' in str(error):
        return UserError(f'in iteration {iteration + 1}, {_explain_worker(error)} {_GO_ON}')
    if isinstance(error, torch.distributed.DistError) or re.search(r'gloo|Connection (closed|reset) by peer', str(error)):
        return UserError(f'in iteration {iteration + 1}, {_explain_contact(error, marks)} {_GO_ON}')
    return None


_GO_ON = 'Then go on from the last checkpoint with the same command and --resume.'


def _explain_worker(error: BaseException) -> str:
    texts = [str(error), str(error.__cause__), str(error.__context__)]
    pid = next((found[1] for text in texts if (found := re.search(r'pid(?:\(s\))? ([\d, ]+)', text))), '?')
    killer = next((found[1] for text in texts if (found := re.search(r'killed by signal: ([^.]+)\.', text))), None)
    if killer is None:
        return f'the data worker (process {pid}) ended by itself: its own message is above. Mend that.'
    start = f'the data worker (process {pid}) was killed ({killer}). '
    if killer == signal.strsignal(signal.SIGBUS):
        shared = shutil.disk_usage('/dev/shm')
        return start + (
            f'The memory that processes share is full: /dev/shm has {_size(shared.free)} of {_size(shared.total)} free. Enlarge '
            'it (docker run --shm-size=8g), or lower num_workers or batch_size of the dataloader.'
        )
    if killer == signal.strsignal(signal.SIGKILL):
        return start + (
            'If nobody did that, the machine had too little memory (dmesg names the process): lower num_workers or batch_size of '
            'the dataloader.'
        )
    return start + 'It is a fault of a library that reads the data: set num_workers=0 of the dataloader to see where.'


def _explain_contact(error: BaseException, marks: Sequence[dict[str, Any]]) -> str:
    gone: list[str] = []
    end = time.monotonic() + _PATIENCE
    while not gone and time.monotonic() < end:
        gone = [f'process {rank} (pid {mark["pid"]} on {mark["host"]})' for rank, mark in enumerate(marks) if is_gone(mark)]
        time.sleep(0.1)
    if gone:
        return f'{" and ".join(gone)} ended and left this one waiting. If nobody killed it, its own output says why.'
    others = sorted({mark['host'] for mark in marks if is_gone(mark) is None})
    where = f'; it runs on one of {", ".join(others)}' if others else ''
    return f'the contact to another process was lost{where} ({str(error).splitlines()[0]}). Its own output may say why.'


def _size(count: float) -> str:
    for unit in ('B', 'kB', 'MB'):
        if count < 1000:
            return f'{count:.0f} {unit}'
        count /= 1000
    return f'{count:.1f} GB'
