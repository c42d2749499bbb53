"""Read annotation files without running anything in them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .encodings import read_bytes, read_lines, read_text


def read_json(path: Path, encoding: str | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        encoding: See :func:`lisa_mm.datasets.encodings.read_text`.

    Raises:
        DataError: if it is missing, in another encoding, or not JSON.
    """
    return parse_json(read_text(path, encoding), path, '')


def read_rows(path: Path, encoding: str | None = None) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the rows of a jsonl (one per line; empty lines count) or of a json that holds a list, to be parsed one by one.

    Returns:
        The row's place, for errors; its number, from 1 in a jsonl and from 0 in a json; a function that returns it.

    Raises:
        DataError: if the file is missing, in another encoding or no list; the function, if the line is no JSON.
    """
    if path.suffix == '.jsonl':
        for number, line in read_lines(path, encoding):
            if line.strip():
                yield f'line {number}', number, partial(parse_json, line, path, f'line {number}')
        return
    rows = read_json(path, encoding)
    if not isinstance(rows, list):
        hint = ' One row per line needs the suffix .jsonl.' if isinstance(rows, dict) else ''
        raise DataError(f'{path}: expected a list of rows, got {kind_of_json(rows)}.{hint}', file=path)
    for number, row in enumerate(rows):
        yield f'row {number}', number, partial(_same, row)


def _same(row: Any) -> Any:
    return row


def parse_json(text: str, path: Path, where: str) -> Any:
    """The value of a JSON text; an object with a key twice is refused, for one of its values would be lost.

    Raises:
        DataError: naming file and record.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        place = f'{path}: {where}' if where else f'{path}'
        hint = ' It holds one object per line: give it the suffix .jsonl.' if str(error).startswith('Extra data: line 2 ') else ''
        raise DataError(f'{place} is no json ({error}).{hint} Mend it or take it out.', file=path, record=where) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f'the key {twice!r} occurs twice in one object')
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def kind_of_json(value: object) -> str:
    """What a value is called in json, with its article."""
    names = {dict: 'an object', list: 'a list', str: 'a text', bool: 'true or false', type(None): 'null'}
    return names.get(type(value), 'a number')


def read_csv(path: Path, columns: Sequence[str], encoding: str | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a csv whose first line names the columns, each with its line number.

    Args:
        path: The file.
        columns: Required columns; others are passed on too.
        encoding: See :func:`lisa_mm.datasets.encodings.read_text`.

    Raises:
        DataError: if the file is missing, in another encoding, lacks a column or names one twice; at a row that has more or
            fewer values.
    """
    text = read_text(path, encoding)
    reader = csv.DictReader(io.StringIO(text, newline=''), strict=True)
    twice = [name for name, count in Counter(reader.fieldnames or ()).items() if count > 1]
    if twice:
        raise DataError(f'{path}: the first line names the column {twice[0]!r} twice. Rename one.', file=path, record=1)
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f'{path}: the first line names the columns {reader.fieldnames}; {", ".join(missing)} is missing.', file=path
        )
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                f'{path}:{reader.line_num}: {len(reader.fieldnames or ())} values are needed. Mend the line or take it out.',
                file=path,
                record=reader.line_num,
            )
        yield reader.line_num, row


class _PlainUnpickler(pickle.Unpickler):
    """Loads plain containers and numpy scalars only: a stranger's pickle could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ('collections', 'OrderedDict'): OrderedDict,
            ('_codecs', 'encode'): codecs.encode,  # Python 3 writes bytes into an old pickle this way
            ('numpy', 'dtype'): _plain_dtype,
            ('numpy.core.multiarray', 'scalar'): _plain_scalar,
            ('numpy._core.multiarray', 'scalar'): _plain_scalar,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is no plain container or number')
        return allowed[module, name]


def _plain_dtype(spec: str, *flags: object) -> np.dtype:
    dtype = np.dtype(spec)
    if dtype.kind not in 'biufSU' or not isinstance(spec, str):
        raise pickle.UnpicklingError(f'it holds a numpy {dtype} value')
    return dtype


def _plain_scalar(dtype: np.dtype, content: bytes | str) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.kind not in 'biufSU':
        raise pickle.UnpicklingError(f'it holds a numpy {dtype} value')
    raw = content.encode('latin1') if isinstance(content, str) else content
    return np.frombuffer(raw, dtype=dtype, count=1)[0].item()


def read_refs(path: Path, encoding: str | None = None) -> list[dict[str, Any]]:
    """Read the referring expressions of ``refs(*.p)`` (a pickle, also from Python 2) or ``grefs(*.json)``.

    Args:
        path: The file.
        encoding: Encoding of a JSON file. Texts in a pickle are Unicode, or Latin-1 where Python 2 wrote bytes.

    Raises:
        DataError: if it is missing, not a pickle, or holds more than plain containers and numbers.
    """
    if path.suffix == '.json':
        refs = read_json(path, encoding)
    else:
        raw = read_bytes(path)
        try:
            refs = _PlainUnpickler(io.BytesIO(raw), encoding='latin1').load()
        # a broken pickle may raise almost any error; to a user they all mean the same
        except Exception as error:
            raise DataError(
                f'{path} is no pickle of referring expressions: {error or type(error).__name__}. Get the file again.', file=path
            ) from error
    if not isinstance(refs, list):
        raise DataError(f'{path}: expected a list of referring expressions, got {kind_of_json(refs)}.', file=path)
    return refs
