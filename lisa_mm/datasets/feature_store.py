"""Features of frozen encoders on disk, one file per image and encoder.

At the published size an image's features are 2 MB: a database or larger shards would save nothing over the file system, and files
can be written by several processes, removed one by one and read by a memory map without any lock. Each is a safetensors file that
appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ConfigError, DataError, UserError
from .index import CACHE_VARIABLE

SUFFIX, UNFINISHED = '.safetensors', '.tmp'
SPARE = 20  # a 20th of the disk is left to checkpoints and others
SCANS = 50  # the store is counted anew after each 50th of its limit, because other processes write into it too
ABANDONED = 3600  # seconds after which an unfinished file belongs to a process that was killed


@dataclass(frozen=True)
class Entry:
    """An image's features of one encoder.

    Args:
        maps: Name -> tensor without a batch axis, in the number format of the store.
        given: Name -> number format that the encoder gave, such as 'float32'.
        original_size: Height and width of the image.
        resized_size: Height and width inside the mask decoder's padded square.
    """

    maps: dict[str, Tensor]
    given: dict[str, str]
    original_size: tuple[int, int]
    resized_size: tuple[int, int]


class FeatureStore:
    """A folder of entries; any number of processes may read and write it at once.

    Args:
        folder: The folder.
        max_bytes: Its limit. Before it is exceeded, the entries that were used longest ago are removed, but none that was used
            since this object was made: a store smaller than the data keeps what it has rather than replacing all of it in each
            epoch.
    """

    def __init__(self, folder: str | Path, max_bytes: int):
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self.stopped: str | None = None  # why nothing more is written
        self._began = time.time_ns()
        self._room = 0  # bytes that may be written before the store is counted again

    def path(self, encoder: str, image: str) -> Path:
        """The file of an entry.

        Args:
            encoder: Key of the encoder with its weights and preprocessing, in hexadecimal digits.
            image: Key of the image's content, in hexadecimal digits.
        """
        return self.folder / encoder / image[:2] / f'{image}{SUFFIX}'

    def read(self, encoder: str, image: str) -> Entry | None:
        """The entry, or None if there is none. A damaged file is removed with a line in the log, to be made again.

        Raises:
            DataError: if the file is there and cannot be opened.
        """
        path = self.path(encoder, image)
        try:
            with safe_open(path, framework='pt') as file:
                facts = file.metadata() or {}
                maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            about = json.loads(facts['about'])
            if int(facts['checksum']) != _checksum(maps, facts['about']):
                raise ValueError('its checksum differs')
            entry = Entry(maps, about['given'], tuple(about['original_size']), tuple(about['resized_size']))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(
                f'{path} cannot be read ({error}). Make it readable, or give cache_features another folder.'
            ) from error
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            print_log(f'{path} is damaged ({error}): it is removed and made again', 'current', logging.WARNING)
            self._remove(path)
            return None
        with suppress(OSError):  # of a folder that may only be read, whose owner evicts by his own use
            _touch(path)
        return entry

    def bytes_of(self, encoder: str) -> int:
        """Bytes of all entries of an encoder."""
        return sum(file.stat().st_size for part in _inside(self.folder / encoder) for file in _inside(part.path))

    def room(self) -> int:
        """Bytes that the disk can still give to the store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(self.folder)
        return disk.free - disk.total // SPARE

    def has(self, encoder: str, image: str) -> bool:
        """Whether there is a file of this entry, sound or not."""
        return self.path(encoder, image).is_file()

    def write(self, encoder: str, image: str, entry: Entry) -> None:
        """Keep an entry; the last of two writers wins.

        Where the folder cannot be written, or nothing may be removed to make room, :attr:`stopped` says why, a warning is logged
        once, and nothing more is written.

        Raises:
            UserError: if a number is not finite in the store's number format.
        """
        if self.stopped is not None:
            return
        for name, value in entry.maps.items():
            if not value.isfinite().all():
                raise UserError(
                    f'the frozen features {name!r} hold numbers that are not finite in {_name(value.dtype)} (the encoder gave '
                    f"{entry.given[name]}). Set cache_features=dict(dtype='bfloat16'), 'float32', or leave dtype out."
                )
        size = sum(value.numel() * value.element_size() for value in entry.maps.values())
        about = {'given': entry.given, 'original_size': entry.original_size, 'resized_size': entry.resized_size}
        text = json.dumps(about)
        path = self.path(encoder, image)
        temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex}{UNFINISHED}')
        try:
            if size > self._room and not self._make_room(size):
                self._stop(
                    f'is full: it may take {self.max_bytes / 2**30:.3g} GiB, a {SPARE}th of the disk stays free, and all that is '
                    'in it is in use. Raise cache_features.max_gib, or give a folder on a larger disk'
                )
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: value.contiguous() for name, value in entry.maps.items()},
                temporary,
                metadata={'about': text, 'checksum': str(_checksum(entry.maps, text))},
            )
            _touch(temporary)
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            self._remove(temporary)
            self._stop(f'cannot be written ({error}). Make room or make it writable, or give cache_features another folder')
            return
        self._room -= size

    def _stop(self, reason: str) -> None:
        self.stopped = f'the feature cache {self.folder} {reason}'
        print_log(
            f'{self.stopped}. The run goes on; images that are not in the cache are encoded every time',
            'current',
            logging.WARNING,
        )

    def files(self) -> Iterator[os.DirEntry[str]]:
        """All files of entries, complete or not; files of others in the folder are left out."""
        for encoder in _inside(self.folder):
            for part in _inside(encoder.path) if encoder.is_dir() else ():
                for file in _inside(part.path) if part.is_dir() else ():
                    if file.name.endswith((SUFFIX, UNFINISHED)):
                        yield file

    def _make_room(self, wanted: int) -> bool:
        """Count the store, remove what is abandoned and what was used longest ago; whether ``wanted`` bytes have room."""
        found, used = [], 0
        for file in self.files():
            try:
                status = file.stat()
            except FileNotFoundError:  # another process has removed it
                continue
            if file.name.endswith(UNFINISHED) and time.time() - status.st_mtime > ABANDONED:
                self._remove(Path(file.path))
                continue
            used += status.st_size
            if file.name.endswith(SUFFIX):
                found.append((status.st_mtime_ns, status.st_size, file.path))
        room = min(self.max_bytes - used, self.room())
        share = max(wanted, self.max_bytes // SCANS)
        for used_at, size, path in sorted(found):
            if room >= share or used_at >= self._began:
                break
            self._remove(Path(path))
            room += size
        self._room = min(room, share)
        return room >= wanted

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            print_log(f'{path} cannot be removed ({error})', 'current', logging.WARNING)


def default_folder() -> Path:
    """``features`` in ``$LISA_MM_CACHE``, or else in the user's cache folder.

    Raises:
        ConfigError: if ``LISA_MM_CACHE`` is 'off'.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given == 'off':
        raise ConfigError(
            f"{CACHE_VARIABLE} is 'off', so that there is no folder for features: give cache_features=dict(folder=DIR), or leave "
            'cache_features out.'
        )
    base = Path(given) if given else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'lisa_mm')
    return base / 'features'


def _touch(path: Path) -> None:
    """Say that a file is used now; without a time, the kernel takes its last tick, which may lie before this store began."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _inside(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def _checksum(maps: dict[str, Tensor], about: str) -> int:
    checksum = zlib.crc32(about.encode())
    for name in sorted(maps):
        value = maps[name].contiguous()
        checksum = zlib.crc32(f'{name}{tuple(value.shape)}{value.dtype}'.encode(), checksum)
        checksum = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy(), checksum)  # pyright: ignore[reportArgumentType] - an array is a buffer, which numpy's stubs say from Python 3.12 on
    return checksum
