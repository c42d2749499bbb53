"""Images as viewers, annotation tools and ``cv2.imread`` show them: rotated as their EXIF tag says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


def upright(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB; a camera held upright stores the pixels sideways and says so in a tag."""
    image.load()  # Pillow rotates a tiff here and removes its tag
    turn = TURNS.get(_orientation(image))
    rgb = image.convert('RGB')
    return np.array(rgb if turn is None else rgb.transpose(turn))


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    Raises:
        OSError, SyntaxError: if the file is missing or unreadable (Pillow raises the latter for a broken png).
    """
    with Image.open(path) as image:
        return upright(image)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the result of :func:`read_image`, from the header; for a png, Pillow also reads tags after the pixels.

    Raises:
        OSError, SyntaxError: if the file is missing or its header unreadable.
    """
    with Image.open(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # depending on Pillow's version, its size is already rotated
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
