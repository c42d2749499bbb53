"""Images as viewers, annotation tools and ``cv2.imread`` show them: turned as their EXIF tag says."""

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
    """(H, W, 3) uint8 RGB; a camera that was held upright leaves the pixels sideways and says so in a tag."""
    image.load()  # Pillow turns a tiff here, and takes its tag away
    turn = TURNS.get(_orientation(image))
    rgb = image.convert('RGB')
    return np.array(rgb if turn is None else rgb.transpose(turn))


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        OSError, SyntaxError: if it is missing or unreadable (Pillow raises the latter for a broken png).
    """
    with Image.open(path) as image:
        return upright(image)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of what :func:`read_image` gives, from the header; of a png, Pillow looks for a tag behind the pixels too.

    Raises:
        OSError, SyntaxError: if it is missing or its header unreadable.
    """
    with Image.open(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # its size may be turned already, by the version of Pillow
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
