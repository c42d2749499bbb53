"""Combine the tensors of one or several checkpoints under our names, merging adapters on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..models.weight_files import is_finite
from .keys import LORA, WRAPPER, reason_to_ignore
from .sources import TensorInfo, WeightFiles
from .table import IGNORED, LEFT_OVER, MERGED, USED, Row, Table

Rename = Callable[[str], 'str | None']


@dataclass(frozen=True)
class Adapter:
    """The two matrices of LoRA around one layer; delta = scale * B @ A."""

    files: WeightFiles
    down: str
    up: str
    scale: float


class MatchedTensors:
    """A :class:`TensorSource` over the files of one or several checkpoints.

    Args:
        lora_alpha: Alpha of the adapters; needed if there are any.
        lora_rank: Expected rank of the adapters, or None.
    """

    def __init__(self, *, lora_alpha: float | None = None, lora_rank: int | None = None):
        self.lora_alpha = lora_alpha
        self.lora_rank = lora_rank
        self.info: dict[str, TensorInfo] = {}
        self.table = Table()
        self._places: dict[str, tuple[WeightFiles, str]] = {}
        self._adapters: dict[str, Adapter] = {}
        self._current: WeightFiles | None = None

    def add(self, files: WeightFiles, rename: Rename, *, clip: bool = False) -> None:
        """Add a checkpoint's tensors, with one table row each.

        Args:
            files: The checkpoint.
            rename: Its name -> ours; None for an unknown name.
            clip: Whether it is a CLIP folder.
        """
        halves: dict[str, dict[str, str]] = {}
        for name, info in files.info.items():
            reason = reason_to_ignore(name, clip=clip)
            if reason:
                self.table.rows.append(Row(IGNORED, name, '', info.shape, reason))
                continue
            if lora := LORA.fullmatch(name):
                halves.setdefault(f'{lora["layer"]}.weight {lora["adapter"]}', {})[lora['side']] = name
                continue
            plain = name.replace('.base_layer.', '.')
            target = rename(plain)
            if target is None:
                self.table.rows.append(Row(LEFT_OVER, name, '', info.shape, 'unknown name'))
            elif target in self.info:
                other = self._places[target][0].path
                raise CheckpointError(f'{name} of {files.path} is in {other} already. Leave one of the two sources out.')
            else:
                self.table.rows.append(Row(USED, name, target, info.shape))
                self.info[target] = info
                self._places[target] = (files, name)
        self._add_adapters(files, rename, halves)

    def _add_adapters(self, files: WeightFiles, rename: Rename, halves: dict[str, dict[str, str]]) -> None:
        if not halves:
            return
        if self.lora_alpha is None:
            raise CheckpointError(
                f'{files.path} holds LoRA matrices; their alpha is in no file. Give --lora-alpha (16 in the published recipe).'
            )
        for key, sides in halves.items():
            layer, adapter = key.rsplit(' ', 1)
            target = rename(layer)
            if set(sides) != {'A', 'B'} or target not in self.info:
                raise CheckpointError(
                    f'{files.path}: LoRA around {layer} lacks its A, its B or the layer itself. The file is cut.'
                )
            if target in self._adapters:
                raise CheckpointError(f'{files.path}: {layer} has several adapters, the second is {adapter!r}. Keep one.')
            self._adapters[target] = self._adapter(files, sides, layer, self.info[target].shape)
            for name in sides.values():
                self.table.rows.append(Row(MERGED, name, target, files.info[name].shape, 'LoRA added to its layer'))

    def _adapter(self, files: WeightFiles, sides: dict[str, str], layer: str, shape: tuple[int, ...]) -> Adapter:
        down, up = files.info[sides['A']].shape, files.info[sides['B']].shape
        rank = down[0]
        if up[1] != rank or (up[0], down[1]) != shape:
            raise CheckpointError(f'{files.path}: LoRA {up} @ {down} does not fit {layer.removeprefix(WRAPPER)} {shape}.')
        expected = self.lora_rank if self.lora_rank is not None else rank
        if rank != expected:
            raise CheckpointError(
                f'{files.path}: LoRA of {layer.removeprefix(WRAPPER)} has rank {rank}, but {expected} is expected. alpha / r '
                f'would be wrong: give --lora-r {rank} and the --lora-alpha of that training.'
            )
        self.lora_rank = rank  # one rank for all layers, so alpha / r is one number
        assert self.lora_alpha is not None
        return Adapter(files, sides['A'], sides['B'], self.lora_alpha / rank)

    def read(self, name: str) -> Tensor:
        """One tensor by our name, with its adapter added in float32 and rounded once.

        Raises:
            CheckpointError: if it holds NaN or infinite numbers.
        """
        files, source = self._places[name]
        if self._current is not None and self._current is not files:
            self._current.close()
        self._current = files
        value = files.read(source)
        adapter = self._adapters.get(name)
        if adapter is None:
            return _finite(value, source, files)
        merged = value.to(torch.float32, copy=True)
        down, up = files.read(adapter.down).float(), files.read(adapter.up).float()
        merged += (up @ down) * adapter.scale
        return _finite(merged.to(value.dtype), source, files)

    def close(self) -> None:
        """Unmap all open files."""
        if self._current is not None:
            self._current.close()


def _finite(value: Tensor, name: str, files: WeightFiles) -> Tensor:
    if not is_finite(value):
        raise CheckpointError(
            f'{files.path}: {name} holds NaN or infinite numbers; every answer and loss would be NaN. Take an earlier or '
            'another checkpoint.'
        )
    return value
