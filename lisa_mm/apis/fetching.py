"""Images by their address."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..datasets.images import MAX_PIXELS, to_rgb
from ..errors import DataError

MAX_BYTES = 100_000_000
TIMEOUT = 30.0  # seconds without a byte


def is_address(image: object) -> bool:
    """Whether an image is given by an http(s) address."""
    return isinstance(image, str) and image.startswith(('http://', 'https://'))


def fetch_image(address: str, *, value_range: Sequence[float] | None = None, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Get an image, (H, W, 3) uint8 RGB.

    Args:
        address: An http(s) address.
        value_range: See :class:`lisa_mm.datasets.transforms.LoadImage`.
        max_bytes: Size of the file at most.

    Raises:
        DataError: if the address does not answer, or not with an image that can be read.
    """
    request = urllib.request.Request(address, headers={'User-Agent': 'lisa_mm'})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # of urllib, sockets and http
        raise DataError(f'{address} cannot be read ({error}). Give another address, or download the file.') from error
    return decode_image(content, address, value_range=value_range, max_bytes=max_bytes)


def decode_image(
    content: bytes, what: str, *, value_range: Sequence[float] | None = None, max_bytes: int = MAX_BYTES
) -> np.ndarray:
    """The pixels of an image file in memory, (H, W, 3) uint8 RGB.

    Args:
        content: The file.
        what: Its name in errors.
        value_range: See :class:`lisa_mm.datasets.transforms.LoadImage`.
        max_bytes: Size of the file at most.

    Raises:
        DataError: if it is too large, or no image that can be read.
    """
    if len(content) > max_bytes:
        raise DataError(f'{what} is larger than {max_bytes:,} bytes. Give a smaller file.')
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size[0] * image.size[1] > MAX_PIXELS:
                raise DataError(
                    f'is too large ({image.size[0]} x {image.size[1]} pixels); at most {MAX_PIXELS:,} pixels are read.'
                )
            return to_rgb(image, value_range)
    except DataError as error:
        raise DataError(f'{what} {error}') from error
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly every kind
        raise DataError(f'{what} is no image that can be read ({type(error).__name__}). Give a png or jpeg.') from error
