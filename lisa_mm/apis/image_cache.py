"""Images that the mask decoder has encoded, for the next questions about them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from ..models.base import BaseMaskDecoder, ImageEmbeddings

PIXELS_AT_ONCE = 4 * 1024**2  # more cost memory, and an encoder of large images is no faster with them


class ImageCache:
    """Embeddings of the images that were asked about last.

    Args:
        decoder: Encodes images.
        size: How many are kept between calls.
    """

    def __init__(self, decoder: BaseMaskDecoder, size: int):
        self.decoder, self.size = decoder, size
        self._kept: OrderedDict[bytes, ImageEmbeddings] = OrderedDict()

    def encode(self, pixels: Tensor, keys: list[bytes]) -> ImageEmbeddings:
        """Encode the images that are not there yet.

        Args:
            pixels: (n, 3, M, M), as :meth:`BaseMaskDecoder.encode_image` takes them.
            keys: What tells the images apart.
        """
        missing = [number for number, key in enumerate(keys) if key not in self._kept]
        at_once = max(1, PIXELS_AT_ONCE // pixels[0, 0].numel())
        for begin in range(0, len(missing), at_once):
            numbers = missing[begin : begin + at_once]
            chosen = pixels if len(numbers) == len(pixels) else pixels[numbers]
            encoded = self.decoder.encode_image(chosen)
            for place, number in enumerate(numbers):
                self._kept[keys[number]] = _map(lambda *maps, place=place: maps[0][place : place + 1], [encoded])
        for key in keys:
            self._kept.move_to_end(key)
        found = [self._kept[key] for key in keys]
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return found[0] if len(found) == 1 else _map(lambda *maps: torch.cat(maps), found)


def _map(change: Callable[..., Tensor], of: list[ImageEmbeddings]) -> ImageEmbeddings:
    """The maps of several embeddings, name by name, as one."""
    extra = {name: change(*(one.extra[name] for one in of)) for name in of[0].extra}
    return ImageEmbeddings(change(*(one.features for one in of)), extra)
