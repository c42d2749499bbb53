"""Limits on what a visitor may send to the server."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..apis.fetching import decode_image
from ..errors import DataError

MEGABYTE = 2**20


@dataclass(frozen=True)
class Upload:
    """A file that a visitor has sent.

    Args:
        path: Where the server keeps it.
        name: Its name on the visitor's machine.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Args:
        upload_mb: Megabytes (of 1,048,576 bytes) of an image file, at most.
        megapixels: Millions of pixels of an image, at most.
        concurrency: Questions answered at the same time.
        queue: Questions that wait for their turn, at most; further ones are refused.
        memory_mb: Megabytes that conversations and their masks take, all visitors together. The conversations that were
            idle longest are removed first.
        max_new_tokens: Tokens of an answer, at most.
    """

    upload_mb: float = 20
    megapixels: float = 50
    concurrency: int = 1
    queue: int = 20
    memory_mb: float = 2000
    max_new_tokens: int = 64


def read_upload(upload: Upload | None, limits: Limits, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """The pixels of a visitor's image, (H, W, 3) uint8 RGB.

    Args:
        upload: The file; None if there is none.
        limits: Its size is checked before it is decoded.
        value_range: See :class:`lisa_mm.datasets.transforms.LoadImage`.

    Raises:
        DataError: if it is missing, too large, or no image that can be read.
    """
    if upload is None:
        raise DataError('There is no image yet. Upload one, paste one, or pick an example.')
    try:
        content = upload.path.read_bytes()
    except FileNotFoundError:
        raise DataError(f'The server no longer has {upload.name}. Upload it again.') from None
    if len(content) > limits.upload_mb * MEGABYTE:
        raise DataError(f'The file {upload.name} is larger than {limits.upload_mb:g} MB. Give a smaller file.')
    check_pixels(content, f'The file {upload.name}', limits.megapixels)
    return decode_image(content, f'The file {upload.name}', value_range=value_range)


def check_pixels(content: bytes, name: str, megapixels: float) -> None:
    """Raise a DataError if an image file says that it has more pixels than allowed; other faults show when it is decoded."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except Image.DecompressionBombError:  # Pillow's own limit, which is far above
        raise DataError(
            f'{name} has more pixels than the {megapixels:g} megapixels that are read here. Give a smaller image.'
        ) from None
    except Exception:  # damaged bytes make Pillow raise nearly every kind; decode_image says what is wrong
        return
    if width * height > megapixels * 1e6:
        raise DataError(
            f'{name} has {width} x {height} pixels ({width * height / 1e6:.1f} megapixels); at most {megapixels:g} megapixels '
            'are read here. Give a smaller image.'
        )
