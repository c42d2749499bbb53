"""The image of a request: base64, a data URI or an address; never a path."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..apis.fetching import decode_image, is_address
from ..errors import DataError
from .addresses import fetch
from .limits import Limits, RequestError

# Pillow knows more, and starts other programs for some
FORMATS = ('PNG', 'JPEG', 'MPO', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM', 'JPEG2000')


@dataclass(frozen=True)
class ImageReader:
    """Reads the images that clients send.

    Args:
        limits: ``body_bytes`` and ``pixels`` are read.
        value_range: That of the model's step which reads images.
        allow_urls: Fetch images by their address.
        allow_private: Fetch them from private networks too.
    """

    limits: Limits
    value_range: tuple[float, float] | None = None
    allow_urls: bool = False
    allow_private: bool = False

    def read(self, image: str | bytes, seconds: float) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

        Args:
            image: A file's bytes, or base64, a data URI or an address.
            seconds: Time that is left for it.

        Raises:
            RequestError: 413 for an image of too many pixels.
            DataError: for any other fault.
        """
        if isinstance(image, str):
            image = self._content(image, seconds)
        self._check(image)
        return decode_image(image, 'the image', value_range=self.value_range)

    def _content(self, text: str, seconds: float) -> bytes:
        if is_address(text):
            if not self.allow_urls:
                raise DataError(
                    'this server fetches no images by their address (it was started without --allow-urls). '
                    'Send the image itself: base64, or data:image/png;base64,...'
                )
            return fetch(text, max_bytes=self.limits.body_bytes, seconds=seconds, allow_private=self.allow_private)
        if text.startswith('data:'):
            head, comma, text = text.partition(',')
            if not comma or not head.endswith(';base64'):
                raise DataError(f'the image begins with {head[:40]!r}; a data URI reads data:image/png;base64,...')
        try:
            return base64.b64decode(''.join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(
                f'the image {text[:40]!r} is no base64 ({error}). Send the bytes of a png or jpeg in base64.'
            ) from error

    def _check(self, content: bytes) -> None:
        """Format and pixels, before anything is decoded."""
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError:
            raise self._too_large('too many') from None
        except Exception as error:  # damaged bytes make Pillow raise nearly every kind
            raise DataError(f'the image is none that can be read. Send one of these: {", ".join(FORMATS)}.') from error
        if width * height > self.limits.pixels:
            raise self._too_large(f'{width} x {height}')

    def _too_large(self, pixels: str) -> RequestError:
        return RequestError(
            413, f'the image has {pixels} pixels; at most {self.limits.pixels:,} are read. Scale it down.', 'image_too_large'
        )
