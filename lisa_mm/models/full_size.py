"""Maps at the size of the image that exist only while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

PIECE_BYTES = 4 << 20  # of a float32 map: three masks of 480 x 640 at once


class FullSizeMaps(Sequence[Tensor]):
    """Maps (K, H, W) of each image, computed each time they are read.

    Args:
        sources: For each image (K, h, w), of which each map follows alone.
        convert: Maps of an image by its number: (n, h, w) -> (n, H, W).
    """

    def __init__(self, sources: Sequence[Tensor], convert: Callable[[int, Tensor], Tensor]):
        self.sources = sources
        self.convert = convert

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> FullSizeMaps:
        """The same maps; plain tensors stay as they are."""
        return maps if isinstance(maps, FullSizeMaps) else cls(maps, lambda _, map_: map_)

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return self.convert(number, self.sources[number])


def pieces(size: tuple[int, int] | torch.Size, *sources: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors (K, ...) alike, so that maps (n, H, W) of a piece take few bytes as float32; at least one map."""
    at_once = max(1, PIECE_BYTES // max(1, 4 * size[0] * size[1]))
    return zip(*(source.split(at_once) for source in sources), strict=True)
