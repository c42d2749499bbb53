"""Read a checkpoint's tensors one by one, with at most one shard mapped at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..file_kinds import SAFETENSORS, check_weights
from ..file_kinds import read_json as read_json  # part of reading a checkpoint's folder
from ..models.weight_files import common_prefix, find_files, read_unprefixed, tell_prefix

# peft's prefix stays: it tells that a file is a training state
PREFIXES = ('module.', '_orig_mod.')
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
        path: A safetensors file, a torch file (read with ``weights_only=True``), or a folder of them. Wrappers and prefixes are
            taken off as in :func:`lisa_mm.models.weight_files.read_weights`, except for peft's.

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
        self._prefix = common_prefix(self.info, known=PREFIXES)
        tell_prefix(self.path, self._prefix)
        self.info = {name.removeprefix(self._prefix): info for name, info in self.info.items()}

    def read(self, name: str) -> Tensor:
        """One tensor; its shard stays open until a tensor of another shard is read."""
        name = self._prefix + name
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
        self._is_safetensors = check_weights(path).name == SAFETENSORS
        if self._is_safetensors:
            try:
                self._file = safe_open(path, framework='pt')
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f'{path}: not readable ({error}). The file is damaged: download it again.') from error
            self.info = read_header(path)
        else:
            self._state = read_unprefixed(path)
            self.info = {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in self._state.items()}

    def read(self, name: str) -> Tensor:
        return self._file.get_tensor(name) if self._is_safetensors else self._state[name]


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
