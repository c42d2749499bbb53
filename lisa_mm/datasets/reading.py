"""Read annotation files without running anything in them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, or in cp1252 like some files of ReasonSeg.

    Raises:
        DataError: if it is missing or not JSON.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f'{path} is missing or unreadable ({error.strerror}). Look at data_root.', file=path) from error
    try:
        text = raw.decode('utf-8')
    except UnicodeDecodeError:
        text = raw.decode('cp1252', errors='replace')
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path} is no json ({error}). Mend the file or take it and its image out.', file=path) from error


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a UTF-8 csv whose first line names the columns, each with its line number.

    Args:
        path: The file.
        columns: Required columns; others are passed on too.

    Raises:
        DataError: if the file is missing, in another encoding or lacks a column; at a row that has more or fewer values.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise DataError(f'{path} is missing or unreadable ({error.strerror}). Look at data_root.', file=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is not in UTF-8 ({error}). Save it as UTF-8.', file=path) from error
    reader = csv.DictReader(io.StringIO(text, newline=''))
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


def field(record: object, key: str, kinds: type | tuple[type, ...], where: str, file: Path) -> Any:
    """The value of a record's key, which must have one of these types.

    Raises:
        DataError: naming the value found instead.
    """
    if not isinstance(record, dict):
        raise DataError(f'{file}: {where} is a {type(record).__name__}, an object is needed.', file=file, record=where)
    if key not in record:
        raise DataError(f'{file}: {where} has no {key!r}; keys found: {sorted(map(str, record))}.', file=file, record=where)
    if not isinstance(record[key], kinds):
        names = ' or '.join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise DataError(f'{file}: {where}: {key} is {str(record[key])[:60]!r}; a {names} is needed.', file=file, record=where)
    return record[key]


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


def read_refs(path: Path) -> list[dict[str, Any]]:
    """Read the referring expressions of ``refs(*.p)`` (a pickle, also from Python 2) or ``grefs(*.json)``.

    Raises:
        DataError: if it is missing, not a pickle, or holds more than plain containers and numbers.
    """
    if path.suffix == '.json':
        refs = read_json(path)
    else:
        try:
            refs = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding='latin1').load()
        except OSError as error:
            raise DataError(f'{path} is missing or unreadable ({error.strerror}). Look at data_root.', file=path) from error
        # a broken pickle may raise almost any error; to a user they all mean the same
        except Exception as error:
            raise DataError(
                f'{path} is no pickle of referring expressions: {error or type(error).__name__}. Get the file again.', file=path
            ) from error
    if not isinstance(refs, list):
        raise DataError(f'{path}: expected a list of referring expressions, got a {type(refs).__name__}.', file=path)
    return refs


class CocoFile:
    """Images, annotations and categories of a COCO json, by id.

    Args:
        path: The JSON file.

    Raises:
        DataError: if it does not have this form.
    """

    def __init__(self, path: Path):
        self.path = path
        content = read_json(path)
        lists = {key: field(content, key, list, 'the file', path) for key in ('images', 'annotations', 'categories')}
        self.images, self.annotations, self.categories = ({entry.get('id'): entry for entry in group} for group in lists.values())

    def image(self, number: object, where: str, file: Path) -> dict[str, Any]:
        """An image's entry: ``file_name``, ``height``, ``width``; errors name ``where`` in ``file``."""
        if number not in self.images:
            raise DataError(
                f'{file}: {where} names image {number!r}, which is not among the images of {self.path.name}.',
                file=file,
                record=where,
            )
        entry = self.images[number]
        for key, kind in (('file_name', str), ('height', int), ('width', int)):
            field(entry, key, kind, f'image {number}', self.path)
        return entry
