"""Masks and label maps in image files. docs/images.md lists each kind of file with what becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError
from .images import open_image, raw_mode, turned, white_is_zero

LOSSLESS = ('PNG', 'TIFF', 'BMP', 'GIF', 'PPM', 'TGA')
LOSSY_TIFF = ('jpeg', 'tiff_jpeg', 'webp', 'tiff_sgilog', 'tiff_sgilog24')
COLOURS = ('RGB', 'RGBA', 'LA')
SMOOTH_EDGE = 128  # below it, a value that counts as object looks like background


def read_label_map(path: str | Path) -> np.ndarray:
    """Read one number per pixel, (H, W), turned upright: grey values, or indices of a palette.

    Raises:
        DataError: if the file is missing or unreadable, lossy, animated, or has no single number per pixel that all programs
            agree on.
    """
    with open_image(path, 'mask') as image:
        rawmode = raw_mode(image)
        fault = _fault_of_numbers(image, rawmode)
        if not fault and rawmode.startswith(('L;2', 'L;4')):
            fault = f'is greyscale of {rawmode[2]} bits, whose numbers programs read differently. Save it in 8 bits.'
        return _values(image, path, fault)


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask, (H, W), turned upright: every number but 0 is object. A palette's index 0 must be its black.

    Raises:
        DataError: as :func:`read_label_map`, and if indices and colours of a palette disagree on what is object.
    """
    with open_image(path, 'mask') as image:
        values = _values(image, path, _fault_of_numbers(image, raw_mode(image)))
        if image.mode == 'P':
            palette = np.zeros((256, 3), np.uint8)
            colours = np.array(image.getpalette('RGB') or [], np.uint8).reshape(-1, 3)
            palette[: len(colours)] = colours
            for index in np.unique(values).tolist():
                if (index != 0) != palette[index].any():
                    raise DataError(
                        f'the mask {path} has a palette whose index {index} is the colour {tuple(palette[index].tolist())}: '
                        'background is index 0 and black. Save it as greyscale, 0 for background.',
                        file=path,
                    )
        return values


def mask_note(values: np.ndarray) -> str | None:
    """What the owner of a mask should know about its numbers; continues a sentence about the file."""
    if values.dtype != np.uint8 or values.max(initial=0) < 200:
        return None
    counts = np.bincount(values.ravel(), minlength=256)
    faint = int(counts[1:SMOOTH_EDGE].sum())
    if not faint:
        return None
    return (
        f'holds {int((counts > 0).sum())} values up to {int(values.max())}, and each but 0 is object: {faint} pixels with values '
        f'below {SMOOTH_EDGE} count too. If its edge was smoothed or it was a jpeg once, save it again with a threshold.'
    )


def _fault_of_numbers(image: Image.Image, rawmode: str) -> str | None:
    """Why an opened file holds no mask, or None."""
    lossy = image.format not in LOSSLESS or image.info.get('compression') in LOSSY_TIFF
    if lossy:
        return (
            f'is {image.format}, which alters values near edges. Export it again as png; if that is impossible, convert it: '
            "Image.open(FILE).convert('L').point(lambda v: 255 * (v > 127)).save('mask.png')"
        )
    if getattr(image, 'is_animated', False):
        return 'holds several images. Save the one that is meant.'
    if image.mode == 'F':
        return 'holds floats. Save it as whole numbers of 8 or 16 bits.'
    if image.mode not in (*COLOURS, '1', 'L', 'P', 'I') and not image.mode.startswith('I;16'):
        return f'is {image.mode}; a mask has one channel. Save it as greyscale or palette.'
    if image.mode in COLOURS and ';16' in rawmode:
        return 'has several channels of 16 bits. Save it as greyscale of 16 bits.'
    if white_is_zero(image) and image.mode != '1':
        return 'is a tiff that says 0 is white, so object and background may be exchanged. Save it as png.'
    return None


def _values(image: Image.Image, path: str | Path, fault: str | None) -> np.ndarray:
    """The numbers of an image without a fault."""
    if not fault:
        image.load()
        upright = turned(image)
        values = np.array(upright)
        if values.ndim == 2:
            return values.astype(np.uint8) if values.dtype == bool else values.astype(values.dtype.newbyteorder('='), copy=False)
        *channels, last = (values[..., channel] for channel in range(values.shape[2]))
        colours = channels if image.mode in ('RGBA', 'LA') else [*channels, last]
        if image.mode in ('RGBA', 'LA') and last.min() < 255:
            fault = 'has transparent pixels, which may be what is meant. Save it as greyscale, 0 for background.'
        elif any(not np.array_equal(colours[0], other) for other in colours[1:]):
            fault = f'is {image.mode} in colour; a mask has one number per pixel. Save it as greyscale or palette.'
        else:
            return np.ascontiguousarray(colours[0])
    raise DataError(f'the mask {path} {fault}', file=path)
