"""Images as viewers, annotation tools and ``cv2.imread`` show them: 8 bits, three channels, rotated as their EXIF tag says.

docs/images.md lists each kind of file with what becomes of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from ..errors import ConfigError, DataError, UserError
from .parquet import open_file

MAX_PIXELS = 178_956_970  # of an image or mask; Pillow refuses larger ones too
# Pillow would warn from half of that on
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

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

COLOUR_MODES = ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr')
SCALED_BY_PILLOW = ('PPM', 'JPEG2000')  # their samples are stretched to 16 bits when they are read
FEW_LEVELS = 32  # of 256
JPEG_SHARES = (8, 4, 2)  # libjpeg decodes each block of 8 x 8 as fewer pixels
RANGE = 'set value_range=(low, high) of LoadImage, which become black and white'


def read_image(
    path: str | Path, value_range: Sequence[float] | None = None, *, notes: list[str] | None = None, draft: int | None = None
) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    Args:
        path: The file.
        value_range: See :func:`to_rgb`.
        notes: A list that gets a sentence for each thing about the file that its owner should know.
        draft: Decode a jpeg at 1/2, 1/4 or 1/8 of its size, the smallest whose longer side has this many pixels; H and W are
            those of the smaller image.

    Raises:
        DataError: if the file is missing, unreadable, larger than :data:`MAX_PIXELS`, or of a kind that has no stated conversion.
    """
    with open_image(path) as image:
        if draft is not None:
            share = next((share for share in JPEG_SHARES if ceil(max(image.size) / share) >= draft), 1)
            image.draft(None, (max(1, image.width // share), max(1, image.height // share)))
        try:
            return to_rgb(image, value_range, notes=notes, path=path)
        except DataError as error:
            raise DataError(f'the image {path} {error}', file=path) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the result of :func:`read_image`, from the header; for a png, Pillow also reads tags after the pixels.

    Raises:
        DataError: if the file is missing, its header unreadable, or the image larger than :data:`MAX_PIXELS`.
    """
    with open_image(path) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # depending on Pillow's version, its size is already rotated
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


@contextmanager
def open_image(path: str | Path, what: str = 'image') -> Iterator[Image.Image]:
    """Open an image or mask; whatever Pillow raises inside becomes a DataError that names the file.

    Args:
        path: The file.
        what: What the file is, for errors.

    Raises:
        DataError: if the file is missing or unreadable, or has more than :data:`MAX_PIXELS` pixels (before they are decoded).
    """
    try:
        # by its name, Pillow maps the file into memory, where it garbles grey tiffs that are to be turned sideways
        with open_file(path) as file, Image.open(file) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f'{width} x {height} pixels')
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f'the {what} {path} is too large ({error}); at most {MAX_PIXELS:,} pixels are read. '
            'Scale it down or cut it into tiles, with its masks.',
            file=path,
        ) from error
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly every kind
        raise DataError(
            f'the {what} {path} is missing or unreadable ({_fault(path, error)}). Get it again as png or jpeg.', file=path
        ) from error


def check_value_range(value_range: Sequence[float] | None) -> None:
    """Raise a ConfigError unless it is None or two finite numbers, the lower first."""
    if value_range is None:
        return
    if len(value_range) != 2 or not np.isfinite(value_range).all() or not value_range[0] < value_range[1]:
        raise ConfigError(f'value_range is {value_range!r}; give two numbers, the lower first, such as (0, 4095), or None.')


def to_rgb(
    image: Image.Image,
    value_range: Sequence[float] | None = None,
    *,
    notes: list[str] | None = None,
    path: str | Path | None = None,
) -> np.ndarray:
    """Convert an opened image to (H, W, 3) uint8 RGB: its first frame, without alpha, turned upright.

    Args:
        image: An image of Pillow.
        value_range: (low, high) of samples of more than 8 bits: low becomes 0, high 255, values outside are clipped. By default
            samples of 16 bits keep their high byte, as in ``cv2.imread``; samples of 32 bits, signed or float ones are refused.
        notes: See :func:`read_image`.
        path: Its file, if it was opened from one.

    Raises:
        DataError: for samples that have no stated conversion; the message continues a sentence about the image.
    """
    if notes is not None and image.format != 'MPO' and getattr(image, 'is_animated', False):
        notes.append(f'holds {image.n_frames} images ({image.format}), of which the first is read. Save that one alone.')  # pyright: ignore[reportAttributeAccessIssue] - of a file with several
    rawmode = raw_mode(image)
    image.load()  # Pillow rotates a tiff here and removes its tag
    if notes is not None:
        _note_transparency(image, notes)
    grey, deep_colour = image.mode.startswith(('I', 'F')), ';16' in rawmode
    if grey:
        eight_bits = _grey(image, rawmode, value_range, notes)
    elif image.mode not in COLOUR_MODES:
        raise DataError(f'has the mode {image.mode}, which has no conversion here. Save it as RGB.')
    elif deep_colour and value_range is not None:
        eight_bits = _colour(image, value_range, notes, path)
    else:
        eight_bits = _without_alpha(image)  # Pillow has kept the high byte of 16 bits
    rgb = eight_bits if eight_bits.mode == 'RGB' else eight_bits.convert('RGB')
    pixels = np.array(turned(rgb, _orientation(image)))
    if notes is not None and (grey or deep_colour):
        _note_few_levels(pixels, value_range, notes)
    return pixels


def turned(image: Image.Image, orientation: int | None = None) -> Image.Image:
    """A loaded image as its EXIF tag says, or the given value of that tag."""
    turn = TURNS.get(_orientation(image) if orientation is None else orientation)
    return image if turn is None else image.transpose(turn)


def raw_mode(image: Image.Image) -> str:
    """How the samples of an opened file are stored, such as 'RGB;16B' or 'L;4'; before the pixels are loaded."""
    arguments = image.tile[0][3] if getattr(image, 'tile', None) else ''  # pyright: ignore[reportAttributeAccessIssue] - of a file
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ''


def white_is_zero(image: Image.Image) -> bool:
    """Whether a tiff says that the lowest value is white."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _without_alpha(image: Image.Image) -> Image.Image:
    """The colours of an image of 8 bits in a mode that becomes RGB without a warning."""
    if image.mode in ('RGBa', 'La'):
        return image.convert('RGBA')
    if 'transparency' not in image.info:
        return image
    bare = image.copy()
    del bare.info['transparency']
    return bare


def _grey(image: Image.Image, rawmode: str, value_range: Sequence[float] | None, notes: list[str] | None) -> Image.Image:
    """8 bits of one channel of 16 bits, 32 bits or floats."""
    values = np.asarray(image)
    # the kinds that Pillow's versions read as 32 bits although the file has 16
    unsigned = image.mode.startswith('I;16') or image.format in ('PNG', 'PPM')
    if value_range is not None:
        if image.format in SCALED_BY_PILLOW:
            raise DataError(f'is {image.format} of 16 bits, which value_range cannot read as stored. Save it as png or tiff.')
        grey = _scaled(values, value_range, notes)
    elif not unsigned:
        kind = 'floats' if image.mode == 'F' else 'signed or 32 bit numbers'
        raise DataError(
            f'holds {kind} from {values.min():.6g} to {values.max():.6g}, of which none is known to be white: {RANGE}.'
        )
    else:
        grey = (values >> (4 if rawmode == 'I;12' else 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if white_is_zero(image) else grey)


def _colour(image: Image.Image, value_range: Sequence[float], notes: list[str] | None, path: str | Path | None) -> Image.Image:
    """8 bits of colours of 16 bits, which Pillow cuts to their high byte and OpenCV reads as they are."""
    path = path or getattr(image, 'filename', '')
    wide = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path and image.format in ('PNG', 'TIFF') else None
    high_bytes = np.asarray(image)
    channels = min(3, high_bytes.shape[2])
    if wide is not None and wide.ndim == 3:
        wide = wide[..., 2::-1] if wide.shape[2] >= 3 else wide[..., :1].repeat(3, axis=2)
    if wide is None or wide.dtype != np.uint16 or not np.array_equal(wide // 256, high_bytes[..., :channels]):
        raise DataError(
            f'is {image.format} in colour of 16 bits, which value_range cannot read as stored. Save it as RGB png or tiff.'
        )
    return Image.fromarray(_scaled(wide, value_range, notes))


def _scaled(values: np.ndarray, value_range: Sequence[float], notes: list[str] | None) -> np.ndarray:
    low, high = value_range
    if not np.isfinite(values).all():
        raise DataError('holds NaN or infinite values. Fill them with numbers.')
    above = float((values > high).mean())
    if notes is not None and above > 0.5:
        notes.append(f'has {above:.0%} of its values above value_range {(low, high)}: they become white. Give its own range.')
    kept = np.clip(values, low, high, dtype=np.float64 if values.dtype == np.int32 else np.float32)
    kept -= low
    kept *= 255 / (high - low)
    return np.rint(kept, out=kept).astype(np.uint8)


def _note_few_levels(pixels: np.ndarray, value_range: Sequence[float] | None, notes: list[str]) -> None:
    """Note an image that is nearly of one grey, as one of 12 bits is when it is read as one of 16."""
    low, high = int(pixels.min()), int(pixels.max())
    if high - low >= FEW_LEVELS:
        return
    left = f'{high - low + 1} of 256 levels remain'
    if value_range is not None:
        notes.append(f'uses little of value_range {tuple(value_range)}: {left}. Give a narrower range.')
        return
    used = (low * 256, high * 256 + 255)
    notes.append(f'has 16 bits, of which the values {used[0]} to {used[1]} occur: {left}. If others cannot occur, {RANGE}.')


def _note_transparency(image: Image.Image, notes: list[str]) -> None:
    if not (image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info):
        return
    if image.mode.startswith(('I', 'F')):
        return
    share = float((np.asarray(image.convert('RGBA').getchannel('A')) < 128).mean())
    if share > 0.01:
        notes.append(
            f'is transparent in {share:.0%} of its pixels: alpha is dropped, as in cv2.imread, and what lies beneath is seen. '
            'Put it on a background.'
        )


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _fault(path: str | Path, error: Exception) -> str:
    """What is wrong with a file that can't be read."""
    try:
        with open_file(path) as file:
            start = file.read(64)
    except OSError as fault:
        return fault.strerror or str(fault)
    if not start:
        return 'the file is empty'
    if start.startswith(b'version https://git-lfs'):
        return 'it is a pointer of git-lfs: run git lfs pull'
    if isinstance(error, UnidentifiedImageError):
        return f'Pillow knows no such format; it begins with {start[:16]!r}'
    if isinstance(error, MemoryError):
        return 'it needs more memory than there is'
    return f'{type(error).__name__}: {error}'
