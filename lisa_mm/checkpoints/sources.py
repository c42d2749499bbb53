"""Read a checkpoint's tensors one by one, with at most one shard mapped at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..models.weights import read_weights

INDEXES = ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
SINGLE = ('model.safetensors', 'pytorch_model.bin')
SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt')
DTYPES = {
    'F64': torch.float64,
    'F32': torch.float32,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'I64': torch.int64,
    'I32': torch.int32,
    'I16': torch.int16,
    'I8': torch.int8,
    'U8': torch.uint8,
    'BOOL': torch.bool,
}


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor, known before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class TensorSource(Protocol):
    """Named tensors with their shapes; the order of ``info`` is the cheapest reading order."""

    info: dict[str, TensorInfo]

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        ...


class WeightFiles:
    """A weights file, or a folder of shards with or without an index.

    Args:
        path: ``.safetensors``, or a pickled torch file (read with ``weights_only=True``), or a folder of them.

    Raises:
        CheckpointError: for a missing, damaged or unsafe file, or an index that does not match its shards.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.files, index = find_files(self.path)
        self.info: dict[str, TensorInfo] = {}
        self.file_of: dict[str, Path] = {}
        self._open: tuple[Path, _Shard] | None = None
        for file in self.files:
            for name, info in _Shard(file).info.items():
                if name in self.info:
                    raise CheckpointError(f'{name} is in {self.file_of[name].name} and in {file.name}. Remove one of the files.')
                self.info[name] = info
                self.file_of[name] = file
        absent = [name for name, file in index.items() if name not in self.info or self.file_of[name].name != file]
        if absent:
            raise CheckpointError(
                f'{self.path}: the index names {len(absent)} tensors that are not where it says, first {absent[0]} in '
                f'{index[absent[0]]}. Download the folder again.'
            )

    def read(self, name: str) -> Tensor:
        """One tensor; its shard stays open until a tensor of another shard is read."""
        file = self.file_of[name]
        if self._open is None or self._open[0] != file:
            self._open = None  # unmaps the other shard first
            self._open = (file, _Shard(file))
        return self._open[1].read(name)

    def close(self) -> None:
        """Unmap the open shard."""
        self._open = None


class _Shard:
    """One open file."""

    def __init__(self, path: Path):
        self.path = path
        if path.suffix == '.safetensors':
            try:
                self._file = safe_open(path, framework='pt')
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f'{path}: not readable ({error}). The file is damaged: download it again.') from error
            self.info = read_header(path)
        else:
            self._state = read_weights(path, mmap=True)
            self.info = {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in self._state.items()}

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name) if self.path.suffix == '.safetensors' else self._state[name]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file in file order (the package sorts them by name)."""
    with path.open('rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
    header.pop('__metadata__', None)
    unknown = sorted({entry['dtype'] for entry in header.values()} - set(DTYPES))
    if unknown:
        raise CheckpointError(f'{path}: tensors of dtype {", ".join(unknown)} are not supported; allowed: {", ".join(DTYPES)}.')
    ordered = sorted(header.items(), key=lambda item: item[1]['data_offsets'])
    return {name: TensorInfo(tuple(entry['shape']), DTYPES[entry['dtype']]) for name, entry in ordered}


def find_files(path: Path) -> tuple[list[Path], dict[str, str]]:
    """The weight files of a path in order, and the contents of their index (empty without one).

    Raises:
        CheckpointError: if there are none, or if a file named by the index or the shard numbers is missing.
    """
    if path.is_file():
        return [path], {}
    if not path.is_dir():
        raise CheckpointError(f'{path} does not exist. Give a weights file or a folder of them.')
    for name in INDEXES:
        if (path / name).is_file():
            index = read_json(path / name).get('weight_map')
            if not isinstance(index, dict) or not index:
                raise CheckpointError(f'{path / name} has no weight_map. Download the folder again.')
            files = sorted(set(index.values()))
            missing = [file for file in files if not (path / file).is_file()]
            if missing:
                raise CheckpointError(
                    f'{path}: {name} names {len(missing)} files that are not there: {", ".join(missing[:4])}. Download them.'
                )
            return [path / file for file in files], index
    for name in SINGLE:
        if (path / name).is_file():
            return [path / name], {}
    return sorted(_numbered_shards(path)), {}


def _numbered_shards(path: Path) -> Iterator[Path]:
    """Shards ``...-00001-of-00003...`` that have no index."""
    found = [p for p in path.iterdir() if p.suffix in SUFFIXES and re.search(r'-\d{5}-of-\d{5}$', p.stem)]
    if not found:
        raise CheckpointError(
            f'{path} holds no weights: looked for {", ".join(INDEXES + SINGLE)} and shards named *-00001-of-0000N. '
            'Give the folder that holds them.'
        )
    counts = {int(p.stem.rsplit('-', 1)[1]) for p in found}
    numbers = sorted(int(p.stem.rsplit('-', 3)[1]) for p in found)
    if len(counts) > 1 or numbers != list(range(1, counts.pop() + 1)):
        raise CheckpointError(f'{path}: shards {numbers} are not all that {found[0].name} tells of. Download the others.')
    yield from found


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        CheckpointError: if it is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be read ({error}). The folder is incomplete: download it again.') from error
    if not isinstance(value, dict):
        raise CheckpointError(f'{path}: expected a JSON object, found a {type(value).__name__}. Download it again.')
    return value
