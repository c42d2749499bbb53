"""Parquet files, and the images inside them: ``FILE.parquet#ROW/NAME`` stands where the path of an image stands."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, UserError
from .encodings import missing_file

ADDRESS = re.compile(r'(?P<file>.+\.parquet)#(?P<row>\d+)/(?P<name>[^/]*)')
IMAGE = 'image'
BATCH = 8  # rows at a time: a row's mask takes a bit a pixel


def parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("parquet files need pyarrow, which is not installed: pip install 'lisa_mm[parquet]'") from error
    return pyarrow.parquet


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Open a ``pyarrow.parquet.ParquetFile``; whatever pyarrow raises inside becomes a DataError that names the file.

    Raises:
        DataError: if it is missing, damaged or no parquet file.
        UserError: without pyarrow.
    """
    module = parquet()
    try:
        with module.ParquetFile(path) as file:
            yield file
    except (UserError, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise missing_file(path, error) from error
    except Exception as error:  # damaged bytes make pyarrow raise nearly every kind
        raise DataError(f'{path} is no whole parquet file ({error}). Get the file again.', file=path) from error


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Yield the number of a batch's first row, and the batch, a few rows at a time.

    Args:
        path: The file.
        columns: The columns to read; ``image.path`` reads a field of a column.

    Raises:
        DataError: if the file is damaged.
    """
    first = 0
    with open_parquet(path) as file:
        batches = file.iter_batches(batch_size=BATCH, columns=list(columns), use_threads=False)
        while (batch := next(batches, None)) is not None:
            batch.validate(full=True)  # texts that are no UTF-8, lists that end beyond their values
            yield first, batch
            first += batch.num_rows


def image_address(file: Path, row: int, name: str) -> str:
    """What stands for the image in a row of a parquet file, in place of a path."""
    return f'{file}#{row}/{os.path.basename(name)}'


def open_file(path: str | Path) -> BinaryIO:
    """Open an image file, or the image at an address, for reading.

    Raises:
        OSError: if there is no such file.
        DataError: if the row of a parquet file has no image.
    """
    address = ADDRESS.fullmatch(str(path))
    return io.BytesIO(_packed(address)) if address else open(path, 'rb')


def is_address(path: str | Path) -> bool:
    """Whether an image lies inside a parquet file."""
    return ADDRESS.fullmatch(str(path)) is not None


def file_size(path: str | Path) -> int | None:
    """The size of an image in bytes; None if there is no such file, or no image in that row."""
    address = ADDRESS.fullmatch(str(path))
    if address is None:
        return os.path.getsize(path) if os.path.isfile(path) else None
    try:
        return len(_packed(address))
    except (OSError, DataError):  # whoever reads the image reports it
        return None


def unpack(path: str, folder: Path) -> Path:
    """Write the image at an address into a folder; returns the new file, named by the parquet file, the row and the name."""
    address = ADDRESS.fullmatch(path)
    assert address, path
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f'{Path(address["file"]).stem}_{address["row"]}_{address["name"]}'
    file.write_bytes(_packed(address))
    return file


def _packed(address: re.Match[str]) -> bytes:
    file, row = address['file'], int(address['row'])
    starts = _group_starts(file, os.stat(file).st_mtime_ns)
    group = int(np.searchsorted(starts, row, side='right')) - 1
    if row >= starts[-1]:
        raise DataError(f'{file} has {starts[-1]} rows; row {row} is asked for. It has changed: start again.', file=file)
    content = _group_images(file, group, os.stat(file).st_mtime_ns)[row - int(starts[group])].as_py()
    content = content['bytes'] if isinstance(content, dict) else content
    if content is None:
        raise DataError(
            f'{file}: row {row}: {IMAGE} has no bytes. Write the file again with the images embedded.',
            file=file,
            record=f'row {row}',
        )
    return content


@lru_cache(maxsize=64)
def _group_starts(file: str, changed: int) -> np.ndarray:
    """(G + 1,) int64: the first row of each row group, and the number of rows; ``changed`` is the file's time."""
    with open_parquet(Path(file)) as opened:
        counts = [opened.metadata.row_group(i).num_rows for i in range(opened.metadata.num_row_groups)]
    return np.cumsum([0, *counts])


# one group: a worker reads in order, and a group of photographs takes 100 MB
@lru_cache(maxsize=1)
def _group_images(file: str, group: int, changed: int) -> Any:
    """The images of a row group; parquet has no way to read a single row."""
    with open_parquet(Path(file)) as opened:
        images = opened.read_row_group(group, columns=[IMAGE], use_threads=False).column(IMAGE)
        images.validate(full=True)
        return images
