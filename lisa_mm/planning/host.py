"""The host's memory while the processes of a machine build the model: what is read from files, and what is not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..config.compile import with_weights
from ..models.lora import begins_from_weights
from ..models.weight_files import SUFFIXES

ASSUMED_BYTES = 2  # of a weight in a file that is not here
AT_ONCE = 4  # tensors that transformers' threads convert at the same time


@dataclass(frozen=True)
class HostMemory:
    """Bytes of a machine's memory at the start, beside the programs themselves.

    Args:
        files: Pages of the weight files: all processes share them, and the kernel takes them back when it needs room.
        private: What belongs to the processes alone, all together, until their models are on the GPUs.
    """

    files: int
    private: int


def host_memory(parts: Mapping[str, Any], model: nn.Module, *, processes: int, half: bool, converted: bool = True) -> HostMemory:
    """Calculate the memory that processes need to build a model, each on its GPU.

    Weights of files go to the GPU tensor by tensor. What no file holds is drawn in float32 on the CPU, and matrices that get
    rows for new tokens are float32 there: their old and new values, and the differences from the mean that the rows are drawn
    by. Adapters that are calculated from the weights (DoRA, PiSSA) need all of them in float32 there.

    Args:
        parts: The config's ``model``; a part that reads weights has ``pretrained``.
        model: Built from it for its shapes.
        processes: Processes of the machine.
        half: Parameters in half precision.
        converted: The files may have another dtype than the parameters.
    """
    own = with_weights(copy.deepcopy(dict(parts)))
    parameters = {id(parameter): parameter.numel() for parameter in model.parameters()}
    sizes: dict[Path, int] = {}
    read: set[int] = set()
    for name, pretrained in _read_parts(own):
        keys = {id(parameter) for parameter in model.get_submodule(name).parameters()}
        size = _bytes_on_disk(pretrained)
        sizes[pretrained] = ASSUMED_BYTES * sum(parameters[key] for key in keys) if size is None else size
        read |= keys
    files = sum(sizes.values())
    if begins_from_weights(parts.get('lora')):
        return HostMemory(files, processes * 4 * sum(parameters.values()))

    without_file = [module for module in model.modules() if getattr(module, 'from_file', None) is False]
    grown = {id(parameter) for module in without_file for parameter in module.parameters()}
    read -= grown
    drawn = 4 * sum(size for key, size in parameters.items() if key not in read)
    differences = 4 * 2 * max((parameters[key] for key in grown), default=0)
    largest = max((parameters[key] for key in read), default=0)
    conversions = (2 if half else 4) * AT_ONCE * largest if converted else 0
    return HostMemory(files, processes * (drawn + differences + conversions))


def _read_parts(parts: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Path]]:
    """Name and path of each part that reads a file."""
    for key, part in parts.items():
        if isinstance(part, Mapping) and 'type' in part:
            if part.get('pretrained'):
                yield f'{prefix}{key}', Path(part['pretrained'])
            yield from _read_parts(part, f'{prefix}{key}.')


def _bytes_on_disk(path: Path) -> int | None:
    """Size of a weight file, or of those in a folder; None if they are absent."""
    files = [path] if path.is_file() else [file for file in path.glob('*') if file.suffix in SUFFIXES]
    return sum(file.stat().st_size for file in files) if files else None
