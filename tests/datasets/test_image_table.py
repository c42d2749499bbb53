"""docs/images.md: a file of each row becomes what the row says, in training, check and the header's size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from lisa_mm.datasets.images import MAX_PIXELS, image_size, read_image
from lisa_mm.datasets.mask_images import read_label_map
from lisa_mm.datasets.masks import decode_mask
from lisa_mm.datasets.transforms import LoadImage
from lisa_mm.doctor.image_steps import ImageSteps
from lisa_mm.errors import DataError

from .image_files import (
    HEIGHT,
    RANGE,
    WIDTH,
    cmyk_jpeg,
    colours,
    cut,
    deep,
    grey,
    numbers,
    packed,
    palette_png,
    png,
    save,
    save_cv2,
    tiff,
    turned_exif,
)

PAGE = (Path(__file__).parents[2] / 'docs' / 'images.md').read_text(encoding='utf-8')
Made = tuple[Path, Any]  # a file, and the pixels that were put into it

PALETTE = [0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250]
WHITE_FIRST = [255, 255, 255, 250, 0, 0, 0, 250, 0, 0, 0, 250]
TWO_BLACKS = [0, 0, 0, 0, 0, 0, 0, 250, 0, 0, 0, 250]
LIMIT = (MAX_PIXELS // 10_000 + 1, 10_000)


def table(heading: str) -> dict[str, list[str]]:
    """File -> the other cells of its row."""
    section = PAGE.split(f'## {heading}\n')[1].split('\n## ')[0]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in section.splitlines() if line.startswith('|')]
    return {name: cells for name, *cells in rows[2:]}


def shown(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of grey, grey with alpha, colours, or colours with alpha."""
    if pixels.ndim == 2:
        return pixels[..., None].repeat(3, axis=2)
    return pixels[..., :1].repeat(3, axis=2) if pixels.shape[2] == 2 else pixels[..., :3]


def upright(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    image.info['exif'] = turned_exif().tobytes()
    return np.array(ImageOps.exif_transpose(image))


def scaled(pixels: np.ndarray) -> np.ndarray:
    low, high = RANGE
    return np.rint((np.clip(pixels.astype(float), low, high) - low) * 255 / (high - low)).astype(np.uint8)


# what a cell says -> the picture, from the pixels that were put into the file
IMAGE_STATEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'its colours': shown,
    "its colours by Pillow's formula": shown,
    'its grey': shown,
    'its colours; alpha is dropped': shown,
    'its grey; alpha is dropped': shown,
    'its colours, turned': lambda pixels: upright(shown(pixels)),
    'the high byte': lambda pixels: shown((pixels >> 8).astype(np.uint8)),
    'the high byte, inverted': lambda pixels: shown((255 - (pixels >> 8)).astype(np.uint8)),
    'the upper 8 of 12 bits': lambda pixels: shown((pixels >> 4).astype(np.uint8)),
    'the range': lambda pixels: shown(scaled(pixels)),
    'the first image': shown,
}
MASK_STATEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'its numbers': lambda pixels: pixels,
    'its numbers as shown': lambda pixels: pixels,
    'its indices': lambda pixels: pixels,
    'one channel': lambda pixels: pixels[..., 0],
    'its numbers, turned': upright,
}


def seen_by_opencv(path: Path) -> Made:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return path, cv2.imread(str(path), flags)[..., ::-1]  # pyright: ignore[reportOptionalSubscript] - it is there


def plain(folder: Path, name: str, pixels: np.ndarray | Image.Image, **options) -> Made:
    return save(folder / name, pixels, **options), np.array(pixels)


def wide(folder: Path, name: str, pixels: np.ndarray) -> Made:
    return save_cv2(folder / name, pixels), pixels


def several(folder: Path, name: str, first: np.ndarray, second: np.ndarray, **options) -> Made:
    path = save(folder / name, first, save_all=True, append_images=[Image.fromarray(second)], **options)
    return path, first


def smooth() -> np.ndarray:
    return cv2.resize(colours()[:3, :4], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def small_png(folder: Path, values: np.ndarray, bits: int) -> Made:
    """A png of less than 8 bits, with what is shown: the numbers stretched to 255."""
    path = png(folder / 'a.png', packed(values, bits), WIDTH, HEIGHT, bits)
    return path, (values * (255 // (2**bits - 1))).astype(np.uint8)


def nothing(path: Path, content: bytes | None) -> Made:
    if content is not None:
        path.write_bytes(content)
    return path, None


def folder_named(path: Path) -> Made:
    path.mkdir()
    return path, None


def signed(path: Path, values: np.ndarray) -> Made:
    return save_cv2(path, values.astype(np.int16)), values.astype(np.int16)


def palette(folder: Path, indices: np.ndarray, colors: list[int], **options) -> Made:
    return palette_png(folder / 'a.png', indices, colors, **options), indices


def two_colours(folder: Path) -> Made:
    """A gif whose first image has the palette's own colours."""
    path, indices = palette(folder, numbers(), PALETTE)
    first = Image.open(path)
    save(folder / 'a.gif', first, save_all=True, append_images=[first.transpose(Image.Transpose.ROTATE_180)])
    return folder / 'a.gif', np.array(PALETTE, np.uint8).reshape(-1, 3)[indices]


def too_large(folder: Path) -> Made:
    return png(folder / 'a.png', b'', LIMIT[1], LIMIT[0], 8), None


NAN = np.where(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) == 5, np.nan, 1500).astype(np.float32)


IMAGES: dict[str, Callable[[Path], Made]] = {
    'jpeg in colour': lambda f: seen_by_opencv(save(f / 'a.jpg', smooth(), quality=95, subsampling=0)),
    'jpeg in grey': lambda f: seen_by_opencv(save(f / 'a.jpg', smooth()[..., 0], quality=95)),
    'jpeg, CMYK': lambda f: seen_by_opencv(cmyk_jpeg(f / 'a.jpg', 0)),
    'jpeg, YCCK': lambda f: seen_by_opencv(cmyk_jpeg(f / 'a.jpg', 2)),
    'tiff, CMYK': lambda f: (
        save(f / 'a.tif', Image.fromarray(smooth()).convert('CMYK')),
        np.array(Image.fromarray(smooth()).convert('CMYK').convert('RGB')),
    ),
    'png in colour': lambda f: plain(f, 'a.png', colours()),
    'png of 1 bit': lambda f: (save(f / 'a.png', Image.fromarray(grey() > 99)), (grey() > 99).astype(np.uint8) * 255),
    'png in grey of 2 bits': lambda f: small_png(f, numbers(), 2),
    'png in grey of 4 bits': lambda f: small_png(f, grey() >> 4, 4),
    'png with a palette': lambda f: (
        palette(f, numbers(), PALETTE)[0],
        np.array(PALETTE, np.uint8).reshape(-1, 3)[numbers()],
    ),
    'png with a palette, transparent': lambda f: (
        palette(f, numbers(), PALETTE, transparency=bytes([0, 90, 255, 255]))[0],
        np.array(PALETTE, np.uint8).reshape(-1, 3)[numbers()],
    ),
    'png in colour with alpha': lambda f: plain(f, 'a.png', colours(channels=4)),
    'png in grey with alpha': lambda f: plain(f, 'a.png', colours(channels=2)),
    'webp with alpha': lambda f: plain(f, 'a.webp', colours(channels=4), lossless=True, exact=True),
    'png in grey of 16 bits': lambda f: plain(f, 'a.png', deep()),
    'png in colour of 16 bits': lambda f: wide(f, 'a.png', deep(channels=3)),
    'png in colour of 16 bits with alpha': lambda f: wide(f, 'a.png', deep(channels=4) | np.array([0, 0, 0, 0xFFFF], np.uint16)),
    'tiff in grey of 16 bits': lambda f: plain(f, 'a.tif', deep()),
    'tiff in grey of 16 bits, high byte first': lambda f: plain(f, 'a.tif', deep().astype('>u2')),
    'tiff in colour of 16 bits': lambda f: wide(f, 'a.tif', deep(channels=3)),
    'pgm of 16 bits': lambda f: wide(f, 'a.pgm', deep()),
    'jpeg 2000 in grey of 16 bits': lambda f: plain(f, 'a.jp2', deep().repeat(4, 0).repeat(4, 1)),
    'tiff in grey of 16 bits, 0 is white': lambda f: (tiff(f / 'a.tif', deep().tobytes(), bits=16, photometric=0), deep()),
    'tiff in grey of 12 bits, packed': lambda f: (tiff(f / 'a.tif', packed(deep(4096), 12), bits=12), deep(4096)),
    'png of 16 bits that uses 12': lambda f: plain(f, 'a.png', deep(4096)),
    'png in grey of 16 bits, with `value_range`': lambda f: plain(f, 'a.png', deep(4096)),
    'png in colour of 16 bits, with `value_range`': lambda f: wide(f, 'a.png', deep(4096, 3)),
    'tiff in colour of 16 bits, with `value_range`': lambda f: wide(f, 'a.tif', deep(4096, 3)),
    'tiff in grey of 12 bits, with `value_range`': lambda f: (tiff(f / 'a.tif', packed(deep(4096), 12), bits=12), deep(4096)),
    'tiff of floats, with `value_range`': lambda f: plain(f, 'a.tif', deep(4096).astype(np.float32)),
    'tiff of 32 bits, with `value_range`': lambda f: plain(f, 'a.tif', deep(4096).astype(np.int32)),
    'tiff of signed 16 bits, with `value_range`': lambda f: signed(f / 'a.tif', deep(4096).astype(int) - 1000),
    'tiff of floats': lambda f: plain(f, 'a.tif', deep().astype(np.float32)),
    'tiff of 32 bits': lambda f: plain(f, 'a.tif', deep().astype(np.int32)),
    'tiff of signed 16 bits': lambda f: signed(f / 'a.tif', deep()),
    'tiff of floats with NaN, with `value_range`': lambda f: plain(f, 'a.tif', NAN),
    'pgm of 16 bits, with `value_range`': lambda f: wide(f, 'a.pgm', deep()),
    'tiff of floats in colour': lambda f: wide(f, 'a.tif', deep(channels=3).astype(np.float32)),
    'tiff in Lab': lambda f: (save(f / 'a.tif', Image.frombytes('LAB', (WIDTH, HEIGHT), colours().tobytes())), None),
    'gif, animated': two_colours,
    'png, animated': lambda f: several(f, 'a.png', colours(), colours(1)),
    'webp, animated': lambda f: several(f, 'a.webp', colours(), colours(1), lossless=True),
    'tiff of several pages': lambda f: several(f, 'a.tif', colours(), colours(1)),
    'jpeg with a second picture (MPO)': lambda f: seen_by_opencv(
        several(f, 'a.mpo', smooth(), smooth()[::-1], quality=95, subsampling=0)[0]
    ),
    'jpeg with an EXIF turn': lambda f: seen_by_opencv(
        save(f / 'a.jpg', smooth(), exif=turned_exif(), quality=95, subsampling=0)
    ),
    'png with an EXIF turn': lambda f: plain(f, 'a.png', colours(), exif=turned_exif()),
    'tiff with an EXIF turn': lambda f: (save(f / 'a.tif', colours(), tiffinfo={0x0112: 6}), colours()),
    'tiff in grey with an EXIF turn': lambda f: (save(f / 'a.tif', grey(), tiffinfo={0x0112: 6}), grey()),
    'webp with an EXIF turn': lambda f: plain(f, 'a.webp', colours(), exif=turned_exif(), lossless=True),
    'png of 1 x 1 pixels': lambda f: plain(f, 'a.png', colours()[:1, :1]),
    'png of 3 x 2000 pixels': lambda f: plain(f, 'a.png', cv2.resize(colours(), (3, 2000))),
    'png of more pixels than the limit': too_large,
    'jpeg cut short': lambda f: (cut(save(f / 'a.jpg', colours())), None),
    'png cut short': lambda f: (cut(save(f / 'a.png', colours())), None),
    'an empty file': lambda f: nothing(f / 'a.jpg', b''),
    'text': lambda f: nothing(f / 'a.jpg', b'<!DOCTYPE html><title>404</title>'),
    'a pointer of git-lfs': lambda f: nothing(f / 'a.jpg', b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n'),
    'a folder': lambda f: folder_named(f / 'a.jpg'),
    'no file': lambda f: nothing(f / 'a.jpg', None),
}


def equal(got: np.ndarray, wanted: np.ndarray, path: Path) -> bool:
    """Equal to the bit; two decoders of a jpeg differ a little."""
    if got.shape != wanted.shape:
        return False
    difference = np.abs(got.astype(int) - wanted).max()
    return difference <= (8 if path.suffix in ('.jpg', '.mpo') else 0)


def test_the_tables_have_a_file_for_each_row():
    assert list(table('Images')) == list(IMAGES)
    assert list(table('Masks and label maps')) == list(MASKS)
    assert f'{MAX_PIXELS:,} pixels' in PAGE
    assert len(re.findall(r'^\|', PAGE, flags=re.M)) == len(IMAGES) + len(MASKS) + 4


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('kind', IMAGES)
def test_an_image(kind, tmp_path):
    path, pixels = IMAGES[kind](tmp_path)
    statement = table('Images')[kind][0]
    value_range = RANGE if '`value_range`' in kind else None
    pipeline = [dict(type='LoadImage', value_range=value_range)]
    if statement == 'refused':
        for read in (
            lambda: read_image(path, value_range),
            lambda: LoadImage(value_range).transform({'img_path': str(path), 'sample_id': 'row 1'}),
            lambda: ImageSteps(pipeline).run(str(path), 'row 1'),
        ):
            with pytest.raises(DataError, match=re.escape(str(path))) as raised:
                read()
            assert raised.value.file == str(path)
        return
    statement, noted = statement.removesuffix(', noted'), statement.endswith(', noted')
    wanted = IMAGE_STATEMENTS[statement](pixels)
    notes: list[str] = []
    assert equal(read_image(path, value_range, notes=notes), wanted, path)
    assert bool(notes) == noted, notes
    loaded = LoadImage(value_range).transform({'img_path': str(path), 'sample_id': 'row 1'})
    assert np.array_equal(loaded['img'], read_image(path, value_range))
    assert loaded['original_size'] == image_size(path) == wanted.shape[:2]
    assert ImageSteps(pipeline).run(str(path), 'row 1') == (*wanted.shape[:2], notes)


def equal_channels(channels: int, alpha: int | None = None) -> np.ndarray:
    pixels = numbers()[..., None].repeat(channels, axis=2)
    if alpha is not None:
        pixels[..., -1] = 255
        pixels[:2, :2, -1] = alpha
    return pixels


def one_bit_where_0_is_white(folder: Path) -> Made:
    values = numbers() > 1
    return tiff(folder / 'a.tif', packed(~values, 1), bits=1, photometric=0), values.astype(np.uint8)


def gif(folder: Path) -> Made:
    path, indices = palette(folder, numbers(), PALETTE)
    with Image.open(path) as image:
        return save(folder / 'a.gif', image), indices


def lossless(folder: Path, name: str) -> Made:
    return plain(folder, name, numbers() * 60)


MASKS: dict[str, Callable[[Path], Made]] = {
    'png in grey': lambda f: lossless(f, 'a.png'),
    'png of 1 bit': lambda f: (save(f / 'a.png', Image.fromarray(numbers() > 1)), (numbers() > 1).astype(np.uint8)),
    'png in grey of 16 bits': lambda f: plain(f, 'a.png', numbers().astype(np.uint16) * 300),
    'png in grey of 2 bits': lambda f: small_png(f, numbers(), 2),
    'png in grey of 4 bits': lambda f: small_png(f, numbers(), 4),
    'png with a palette, 0 is black': lambda f: palette(f, numbers(), PALETTE),
    'png with a palette, 0 is white': lambda f: palette(f, numbers(), WHITE_FIRST),
    'png with a palette, 1 is black too': lambda f: palette(f, numbers(), TWO_BLACKS),
    'png in colour, three equal channels': lambda f: plain(f, 'a.png', equal_channels(3)),
    'png in colour': lambda f: plain(f, 'a.png', colours()),
    'png in grey with alpha, opaque': lambda f: plain(f, 'a.png', equal_channels(2, 255)),
    'png in colour with alpha, opaque, three equal channels': lambda f: plain(f, 'a.png', equal_channels(4, 255)),
    'png in colour with alpha, partly transparent': lambda f: plain(f, 'a.png', equal_channels(4, 0)),
    'png in grey with alpha, partly transparent': lambda f: plain(f, 'a.png', equal_channels(2, 254)),
    'png in colour of 16 bits': lambda f: wide(f, 'a.png', equal_channels(3).astype(np.uint16)),
    'tiff in grey': lambda f: lossless(f, 'a.tif'),
    'tiff of 32 bits': lambda f: plain(f, 'a.tif', numbers().astype(np.int32) * 70_000),
    'tiff of 1 bit, 0 is white': one_bit_where_0_is_white,
    'tiff in grey, 0 is white': lambda f: (tiff(f / 'a.tif', numbers().tobytes(), bits=8, photometric=0), None),
    'tiff of floats': lambda f: plain(f, 'a.tif', numbers().astype(np.float32)),
    'bmp in grey': lambda f: lossless(f, 'a.bmp'),
    'gif': gif,
    'pgm': lambda f: lossless(f, 'a.pgm'),
    'tga in grey': lambda f: lossless(f, 'a.tga'),
    'jpeg': lambda f: lossless(f, 'a.jpg'),
    'jpeg named .png': lambda f: plain(f, 'a.png', numbers() * 60, format='JPEG'),
    'jpeg in a tiff': lambda f: plain(f, 'a.tif', numbers() * 60, compression='jpeg'),
    'webp': lambda f: lossless(f, 'a.webp'),
    'jpeg 2000': lambda f: plain(f, 'a.jp2', (numbers() * 60).repeat(4, 0).repeat(4, 1)),
    'png, animated': lambda f: several(f, 'a.png', numbers(), numbers(1)),
    'tiff of several pages': lambda f: several(f, 'a.tif', numbers(), numbers(1)),
    'png with an EXIF turn': lambda f: plain(f, 'a.png', numbers(), exif=turned_exif()),
    'tiff with an EXIF turn': lambda f: (save(f / 'a.tif', numbers(), tiffinfo={0x0112: 6}), numbers()),
    'png of another size than the image': lambda f: plain(f, 'a.png', numbers()[1:]),
    'png of more pixels than the limit': too_large,
    'png cut short': lambda f: (cut(save(f / 'a.png', grey())), None),
    'an empty file': lambda f: nothing(f / 'a.png', b''),
    'a folder': lambda f: folder_named(f / 'a.png'),
}


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('kind', MASKS)
def test_a_mask_and_a_label_map(kind, tmp_path):
    path, pixels = MASKS[kind](tmp_path)
    as_mask, as_map = table('Masks and label maps')[kind]
    size = (WIDTH, HEIGHT) if 'EXIF' in kind else (HEIGHT, WIDTH)
    for statement, spec in ((as_mask, {'png': str(path)}), (as_map, {'label_map': str(path), 'value': 60})):
        if statement == 'refused':
            with pytest.raises(DataError, match=re.escape(str(path))) as raised:
                decode_mask(spec, *size, 'row 1')
            assert raised.value.file == str(path)
            continue
        wanted = MASK_STATEMENTS[statement](pixels)
        if 'png' in spec:
            assert np.array_equal(decode_mask(spec, *size, 'row 1'), (wanted != 0).astype(np.uint8))
            continue
        got = read_label_map(path)
        assert np.array_equal(got, wanted)
        assert got.dtype in (np.uint8, np.uint16, np.int32) and got.dtype.isnative
        for value in np.unique(wanted).tolist():
            drawn = decode_mask({'label_map': str(path), 'value': value}, *size, 'row 1')
            assert np.array_equal(drawn, (wanted == value).astype(np.uint8))
