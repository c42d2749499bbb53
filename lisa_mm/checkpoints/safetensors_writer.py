"""Write safetensors files tensor by tensor, so that a whole shard is never in memory.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of a JSON header, the header, and
the tensors' bytes in offset order. The safetensors package writes from a dict, which holds a whole shard and a copy of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError
from .sources import DTYPES, TensorInfo

NAMES = {dtype: name for name, dtype in DTYPES.items()}
UNITS = {'KB': 10**3, 'MB': 10**6, 'GB': 10**9}


def parse_size(text: str) -> int:
    """'500MB' -> 500,000,000."""
    unit = text[-2:].upper()
    try:
        return round(float(text[:-2]) * UNITS[unit])
    except (KeyError, ValueError):
        raise ConfigError(f'{text!r} is no size. Give a number with KB, MB or GB, such as 5GB.') from None


def split_shards(info: Mapping[str, TensorInfo], max_bytes: int) -> list[list[str]]:
    """Names in order, split where the next tensor would make a shard larger than ``max_bytes``."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in info.items():
        if shards[-1] and size + tensor.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def shard_names(count: int, stem: str, suffix: str) -> list[str]:
    """``model-00001-of-00002.safetensors``, or ``model.safetensors`` for one."""
    if count == 1:
        return [stem + suffix]
    return [f'{stem}-{i + 1:05d}-of-{count:05d}{suffix}' for i in range(count)]


def write_shards(folder: Path, info: Mapping[str, TensorInfo], read: Callable[[str], Tensor], *, max_bytes: int) -> None:
    """Write ``model.safetensors``, or shards with their index.

    Args:
        folder: An existing folder.
        info: Every tensor's shape and dtype, in the order to write.
        read: Returns a tensor with that shape and dtype.
        max_bytes: Maximum size of a shard.
    """
    shards = split_shards(info, max_bytes)
    files = shard_names(len(shards), 'model', '.safetensors')
    for file, names in zip(files, shards, strict=True):
        write_file(folder / file, {name: info[name] for name in names}, read)
    if len(shards) > 1:
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {'metadata': {'total_size': sum(t.nbytes for t in info.values())}, 'weight_map': weight_map}
        (folder / 'model.safetensors.index.json').write_text(json.dumps(index, indent=1) + '\n', encoding='utf-8')


def write_file(path: Path, info: Mapping[str, TensorInfo], read: Callable[[str], Tensor], *, keep: bool = True) -> str:
    """Write one file, one tensor in memory at a time.

    Args:
        path: The file.
        info: Every tensor's shape and dtype.
        read: Returns a tensor with that shape and dtype, on the CPU.
        keep: False only reads the tensors in the same order: a process that joins in gathering them for another one's file.

    Returns:
        The file's sha256; empty without ``keep``.
    """
    # wide types first, so that every tensor starts at a multiple of its type's size
    ordered = dict(sorted(info.items(), key=lambda item: -item[1].dtype.itemsize))
    if not keep:
        for name in ordered:
            read(name)
        return ''
    header: dict[str, object] = {'__metadata__': {'format': 'pt'}}
    offset = 0
    for name, tensor in ordered.items():
        header[name] = {
            'dtype': NAMES[tensor.dtype],
            'shape': list(tensor.shape),
            'data_offsets': [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open('wb') as file:
        for block in _blocks(len(text).to_bytes(8, 'little') + text, ordered, read):
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _blocks(start: bytes, ordered: Mapping[str, TensorInfo], read: Callable[[str], Tensor]) -> Iterator[bytes | memoryview]:
    yield start
    for name, tensor in ordered.items():
        value = read(name)
        assert (tuple(value.shape), value.dtype) == (tensor.shape, tensor.dtype), name
        yield value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
