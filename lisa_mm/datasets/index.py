"""The index of a data set: its records as bytes, kept on disk and shared between processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CACHE_VARIABLE = 'LISA_MM_CACHE'
# the beginning of a record of a reader that names sample and image first, as all of this package do
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_IMAGE_FIRST = re.compile(rb'\{"sample_id":' + _TEXT + rb',"img_path":(' + _TEXT + rb'|null)')
VERSION = 3  # version of the format below and of the records that readers make


class RecordIndex:
    """Records as one array of bytes. Workers and ranks share its pages: an index on disk is mapped, not read.

    A record is JSON: it cannot run code, so an index written by somebody else is only data.

    Args:
        data: (N,) uint8, all records.
        starts: (R,) int64, where each record begins.
        ends: (R,) int64, where each record ends.
        left_out: Reason -> number of records left out when the index was made.
        notes: What else was worth a note when the index was made -> how often.
    """

    def __init__(
        self,
        data: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        *,
        left_out: Mapping[str, int] | None = None,
        notes: Mapping[str, int] | None = None,
    ):
        self.data = data
        self.starts = starts
        self.ends = ends
        self.left_out = dict(left_out or {})
        self.notes = dict(notes or {})

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        left_out: Mapping[str, int] | None = None,
        notes: Mapping[str, int] | None = None,
    ) -> RecordIndex:
        """Encode records; their values must be JSON types."""
        pieces = [json.dumps(record, ensure_ascii=False, separators=(',', ':')).encode() for record in records]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if pieces else ends
        return cls(np.frombuffer(b''.join(pieces), dtype=np.uint8), starts, ends, left_out=left_out, notes=notes)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return json.loads(self.data[self.starts[number] : self.ends[number]].tobytes())

    def image_paths(self) -> list[str | None]:
        """``img_path`` of every record, without decoding what follows it."""
        data, found = memoryview(self.data), []  # pyright: ignore[reportArgumentType] - an array is a buffer, which numpy's stubs say from Python 3.12 on
        for number, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            match = _IMAGE_FIRST.match(data, start, end)
            found.append(json.loads(match[1]) if match else self[number]['img_path'])
        return found

    def select(self, numbers: np.ndarray) -> RecordIndex:
        """An index of some records over the same bytes."""
        return RecordIndex(self.data, self.starts[numbers], self.ends[numbers], left_out=self.left_out, notes=self.notes)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the index; a reader sees all of it or nothing, and the last of two writers wins."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # not tempfile: other members of a group share the cache and could not read its files
        temporary = path.with_name(f'{path.name}.{uuid.uuid4().hex}.tmp')
        arrays = {'data': self.data, 'starts': self.starts, 'ends': self.ends}
        for name, array in arrays.items():
            with temporary.open('xb') as file:
                np.save(file, array, allow_pickle=False)
            os.replace(temporary, f'{path}.{fingerprint}.{name}.npy')
        temporary.write_text(
            json.dumps({'fingerprint': fingerprint, 'left_out': self.left_out, 'notes': self.notes}), encoding='utf-8'
        )
        os.replace(temporary, f'{path}.json')
        for old in path.parent.glob(f'{path.name}.*.npy'):
            if fingerprint not in old.name:
                old.unlink(missing_ok=True)  # a process that has mapped it keeps it

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> RecordIndex | None:
        """The index at this path, or None if no readable one has this fingerprint; it must be rebuilt then."""
        try:
            meta = json.loads(Path(f'{path}.json').read_text(encoding='utf-8'))
            if meta['fingerprint'] != fingerprint:
                return None
            data, starts, ends = (
                np.load(f'{path}.{fingerprint}.{name}.npy', mmap_mode='r', allow_pickle=False)
                for name in ('data', 'starts', 'ends')
            )
        except (OSError, ValueError, KeyError):
            return None
        return cls(data, starts, ends, left_out=meta['left_out'], notes=meta['notes'])


def cache_path(identity: Mapping[str, Any]) -> Path | None:
    """Where the index of a data set is kept: below ``$LISA_MM_CACHE`` or the user's cache folder; None if that is 'off'.

    Args:
        identity: What the index depends on besides its files: class, arguments, root.
    """
    folder = os.environ.get(CACHE_VARIABLE) or os.path.join(
        os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'lisa_mm', 'index'
    )
    if folder == 'off':
        return None
    text = json.dumps({'version': VERSION, **identity}, sort_keys=True, default=str)
    return Path(folder) / f'{identity.get("class", "index")}-{hashlib.sha256(text.encode()).hexdigest()[:16]}'


@dataclass(frozen=True)
class FileState:
    """Files and folders at one moment; a folder's time changes as files come and go.

    Args:
        fingerprint: A hash of names, sizes and times.
        newest: The latest time among them, in nanoseconds.
    """

    fingerprint: str
    newest: int

    @classmethod
    def of(cls, files: Iterable[Path]) -> FileState:
        """The state of some files now."""
        digest, newest = hashlib.sha256(), 0
        for file in files:
            try:
                status = os.stat(file)
            except FileNotFoundError:
                digest.update(f'{file}|missing\n'.encode())
                continue
            digest.update(f'{file}|{status.st_size}|{status.st_mtime_ns}\n'.encode())
            newest = max(newest, status.st_mtime_ns)
        return cls(digest.hexdigest()[:16], newest)

    def changed(self, files: Iterable[Path]) -> list[Path]:
        """The files that are newer or missing now; all of them if something else has changed; none if nothing has."""
        files = list(files)
        if FileState.of(files).fingerprint == self.fingerprint:
            return []
        return [file for file in files if not file.exists() or file.stat().st_mtime_ns > self.newest] or files
