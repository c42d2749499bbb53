"""One run for a work folder: a lock file that names its owner."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lisa_mm.errors import WorkFolderError

from .processes import is_gone, process_mark

LOCK = '.lock'
BEAT = 10.0  # seconds between two signs of life of the owner
WATCH = 30.0  # a lock of another machine is watched at least that long
STALE = 120.0  # and is stale without a sign of life for that long

_held: dict[Path, FolderLock] = {}
os.register_at_fork(after_in_child=_held.clear)  # the locks are the parent's


@contextmanager
def locked(folder: str | Path, *, owner: bool = True, option: str = '--work-dir') -> Iterator[None]:
    """Hold a folder's lock; inside another ``locked`` of the same process and folder nothing happens.

    Args:
        folder: The work folder; made if it does not exist.
        owner: Whether this process takes the lock: one process of a run does.
        option: The option that names the folder, for errors.

    Raises:
        WorkFolderError: if another run holds the lock, or the folder can't be written.
    """
    key = Path(folder).resolve()
    if not owner or key in _held:
        yield
        return
    lock = FolderLock(key, option)
    lock.take()
    _held[key] = lock
    try:
        yield
    finally:
        _held.pop(key, None)
        lock.release()


def refuse_lost_lock(folder: str | Path) -> None:
    """Raise a WorkFolderError if this process took a folder's lock and another run has it now."""
    lock = _held.get(Path(folder).resolve())
    if lock is not None:
        lock.refuse_lost()


class FolderLock:
    """A file made with O_EXCL, which network file systems keep atomic too, unlike flock.

    Its owner shows that it lives by the file's time. On its own machine, a lock whose process is gone is stale at once; on
    another one, after :data:`STALE` seconds without a sign of life, which are measured by the watcher's monotonic clock and the
    folder's file system: clocks that differ or jump cannot make it stale earlier than :data:`WATCH` seconds.

    Args:
        folder: The work folder.
        option: The option that names it, for errors.
    """

    def __init__(self, folder: Path, option: str = '--work-dir'):
        self.folder = folder
        self.option = option
        self.path = folder / LOCK
        self.mark = {
            **process_mark(),
            'since': time.strftime('%Y-%m-%d %H:%M:%S'),
            'command': shlex.join(sys.orig_argv),
            'token': uuid.uuid4().hex,
        }
        self._text = json.dumps(self.mark, indent=1) + '\n'
        self._ended = threading.Event()

    def take(self) -> None:
        """Take the lock.

        Raises:
            WorkFolderError: if another run holds it, or the folder can't be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while not self._make():
                self._move_stale()
        except OSError as error:
            raise WorkFolderError(
                f'the folder {self.folder} cannot be written ({error.strerror}). Give another {self.option}.'
            ) from error
        threading.Thread(target=self._beat, name='lock of the work folder', daemon=True).start()

    def release(self) -> None:
        """Give the lock back; one that another run has taken over stays."""
        self._ended.set()
        with suppress(OSError):  # a folder that is gone or can't be written needs no lock
            if self.path.read_text(encoding='utf-8') == self._text:
                self.path.unlink()

    def refuse_lost(self) -> None:
        """Raise a WorkFolderError if the lock is another run's by now."""
        owner = self._look()[0]
        if owner.get('token') != self.mark['token']:
            raise WorkFolderError(
                f'the lock of {self.folder} was taken by {_describe(owner)}: this run gave no sign of life for a while, or '
                'somebody removed its lock. It stops and leaves the folder to the other one.'
                if owner
                else f'the lock {self.path} of this run was removed, so another run may write into its folder. It stops here.'
            )

    def _make(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
                file.write(self._text)
        except OSError:  # a full disk
            self.path.unlink()
            raise
        return True

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            # a file system that stalls or is gone shows at the next checkpoint, with an error
            with suppress(OSError):
                if self._look()[0].get('token') == self.mark['token']:
                    os.utime(self.path)

    def _look(self) -> tuple[dict[str, Any], tuple[int, str]]:
        """The owner (empty if there is none, or it has not yet written its name), and what changes with each sign of life."""
        try:
            with self.path.open(encoding='utf-8', errors='replace') as file:  # opening asks a network file system anew
                text, seen = file.read(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return {}, (0, '')
        try:
            owner = json.loads(text)
            return (owner if isinstance(owner, dict) and 'pid' in owner else {}), (seen, text)
        except ValueError:
            return {}, (seen, text)

    def _move_stale(self) -> None:
        """Remove a stale lock.

        Raises:
            WorkFolderError: if its owner lives.
        """
        owner, seen = self._look()
        if not owner:
            time.sleep(BEAT / 10)  # it may be just writing its name
            owner, seen = self._look()
        if not self.path.exists():
            return
        gone = is_gone(owner) if owner else None
        if gone is False or (gone is None and self._shows_life(owner, seen)):
            again = (
                ' It is the same command: if both are to be one run, their launcher was not recognised; use torchrun, deepspeed, '
                'mpirun or srun.'
                if owner.get('command') == self.mark['command']
                else ''
            )
            raise WorkFolderError(
                f'{self.folder} is in use by {_describe(owner)}. End that run, or give another {self.option}.{again}'
            )
        # renamed first: of two that found it stale, one succeeds, and the other puts back what it should not have moved
        grave = self.path.with_name(f'{LOCK}_{self.mark["token"]}')
        try:
            self.path.rename(grave)
        except FileNotFoundError:
            return
        moved = grave.read_text(encoding='utf-8', errors='replace')
        if moved != seen[1]:
            with suppress(FileExistsError):
                os.link(grave, self.path)
        grave.unlink()
        if moved == seen[1]:
            _say(f'{self.folder} was locked by {_describe(owner)}, which has ended without removing its lock: taken over.')

    def _shows_life(self, owner: dict[str, Any], seen: tuple[int, str]) -> bool:
        age = self._now() - seen[0] / 1e9
        patience = min(max(WATCH, STALE - age), STALE)
        _say(
            f'{self.folder} is locked by {_describe(owner)}, whose last sign of life was {max(0, age):.0f} s ago. It is watched '
            f'for {patience:.0f} s and taken over without a sign of life (if you know that it has ended, remove {self.path}).'
        )
        end = time.monotonic() + patience
        while time.monotonic() < end:
            time.sleep(min(1.0, BEAT / 10))
            if self._look()[1] != seen:
                return self.path.exists()  # given back meanwhile
        return False

    def _now(self) -> float:
        """The time by the clock that also gave the lock its time, which on a network file system is the server's."""
        probe = self.path.with_name(f'{LOCK}_now_{self.mark["token"]}')
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def _describe(owner: dict[str, Any]) -> str:
    if not owner:
        return 'an unnamed process'
    return f'process {owner["pid"]} on {owner.get("host")} (since {owner.get("since")}: {owner.get("command")})'


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # no logger yet: it would write into the folder
