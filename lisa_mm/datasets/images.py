"""Images as viewers, annotation tools and ``cv2.imread`` show them: turned as their EXIF tag says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile
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
    turn = TURNS.get(_orientation(image.getexif()))
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
    """(height, width) of what :func:`read_image` gives; pixels are decoded only for a png whose tag lies behind them.

    Raises:
        OSError, SyntaxError: if it is missing or its header unreadable.
    """
    with Image.open(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # its size may be turned already, by the version of Pillow
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        # a png's own getexif decodes it in search of a tag
        plain = isinstance(image, PngImageFile) and not _tag_behind_pixels(path)
        exif = Image.Image.getexif(image) if plain else image.getexif()
        return (width, height) if _orientation(exif) in SIDEWAYS else (height, width)


def _orientation(exif: Image.Exif) -> int:
    return exif.get(ExifTags.Base.Orientation, 1)


def _tag_behind_pixels(path: str | Path) -> bool:
    """Whether a png has EXIF data or XMP after its pixels, from the names of its chunks."""
    behind = False
    with open(path, 'rb') as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack('>I4s', head)
            begin = file.read(min(length, 21))
            if behind and (name == b'eXIf' or begin.startswith((b'XML:com.adobe.xmp', b'Raw profile type exif'))):
                return True
            behind = behind or name == b'IDAT'
            file.seek(length - len(begin) + 4, os.SEEK_CUR)
    return False
