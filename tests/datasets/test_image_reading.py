"""Reading images and mask files: sizes by the header, damaged bytes, large files, value ranges."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import images
from lisa_mm.datasets.images import MAX_PIXELS, image_size, read_image, to_rgb
from lisa_mm.datasets.mask_images import mask_note, read_label_map, read_mask
from lisa_mm.datasets.transforms import LoadImage
from lisa_mm.errors import ConfigError, DataError

from .image_files import HEIGHT, WIDTH, colours, deep, grey, numbers, png, save

# how an orientation is undone, as a viewer shows it
TURN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 3),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}
KINDS = {
    'grey': lambda: grey(),
    'colour': lambda: colours(),
    'alpha': lambda: colours(channels=4),
    '16 bits': lambda: deep(),
    '1 bit': lambda: grey() > 99,
}
FORMATS = {
    'png': {},
    'tif': {},
    'tif packed': {'compression': 'tiff_lzw'},
    'webp': {'lossless': True, 'exact': True},
}


@pytest.mark.parametrize('orientation', TURN)
@pytest.mark.parametrize(('form', 'kind'), [(f, k) for f in FORMATS for k in KINDS if f != 'webp' or k in ('colour', 'alpha')])
def test_each_kind_is_turned_and_its_size_known(tmp_path, form, kind, orientation):
    path = tmp_path / f'a.{form.split()[0]}'
    pixels = KINDS[kind]()
    exif = Image.Exif()
    exif[0x0112] = orientation
    tag = {'tiffinfo': {0x0112: orientation}} if 'tif' in form else {'exif': exif}
    save(path, Image.fromarray(pixels), **tag, **FORMATS[form])
    stored = (pixels >> 8).astype(np.uint8) if kind == '16 bits' else pixels.astype(np.uint8) * (255 if kind == '1 bit' else 1)
    wanted = TURN[orientation](stored)
    read = read_image(path)
    assert np.array_equal(read, wanted[..., None].repeat(3, 2) if wanted.ndim == 2 else wanted[..., :3])
    assert read.flags.writeable
    assert image_size(path) == read.shape[:2]
    if pixels.ndim == 2:
        assert np.array_equal(read_label_map(path), TURN[orientation](pixels))
        assert np.array_equal(read_mask(path), read_label_map(path))


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """A file's bytes with up to five faults, most of them near the beginning, where headers are."""
    broken = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(min(len(broken), 400 if rng.random() < 0.6 else len(broken))))
        match int(rng.integers(4)):
            case 0:
                broken[place] = int(rng.integers(256))
            case 1 if place and rng.random() < 0.3:
                del broken[place:]
            case 2:
                broken[place : place + 4] = rng.bytes(4)
            case _:
                broken[place : place + 2] = b'\xff\xff'
    return bytes(broken)


def sound_files() -> list[bytes]:
    found = []
    photo, exif = Image.fromarray(colours()), Image.Exif()
    exif[0x0112] = 6
    palette = photo.convert('P')
    for image, form, options in (
        (photo, 'JPEG', {'exif': exif}),
        (photo.convert('CMYK'), 'JPEG', {'progressive': True}),
        (photo, 'PNG', {'exif': exif}),
        (palette, 'PNG', {'transparency': bytes(range(256))}),
        (Image.fromarray(deep()), 'PNG', {}),
        (Image.fromarray(numbers()), 'PNG', {}),
        (photo, 'TIFF', {'exif': exif, 'compression': 'tiff_lzw'}),
        (Image.fromarray(deep().astype(np.float32)), 'TIFF', {}),
        (Image.fromarray(numbers()), 'TIFF', {'compression': 'tiff_adobe_deflate'}),
        (photo, 'GIF', {'save_all': True, 'append_images': [photo.rotate(9)]}),
        (photo, 'WEBP', {'exif': exif}),
        (photo, 'BMP', {}),
        (photo, 'PPM', {}),
        (photo, 'JPEG2000', {'num_resolutions': 2}),
    ):
        file = io.BytesIO()
        image.save(file, form, **options)
        found.append(file.getvalue())
    return found


@pytest.mark.filterwarnings('ignore')  # Pillow's, about damaged tags
def test_damaged_bytes_end_in_one_error(tmp_path, monkeypatch):
    """Every damaged file is read or refused with its name, and what is read has the size that the header says."""
    monkeypatch.setattr(images, 'MAX_PIXELS', 2_000_000)
    rng, path = np.random.default_rng(17), tmp_path / 'a.bin'
    refusals, sound = [], 0
    for data in sound_files():
        for _ in range(40):
            path.write_bytes(damaged(rng, data))
            for read in (lambda: read_image(path, (0, 4095), notes=[]), lambda: read_label_map(path), lambda: read_mask(path)):
                try:
                    pixels = read()
                except DataError as error:
                    refusals.append(error)
                else:
                    assert image_size(path) == pixels.shape[:2]
                    sound += 1
    assert all(str(path) in str(error) and error.file == str(path) for error in refusals)
    assert min(len(refusals), sound) > 100


LARGE = """
import resource, sys
from lisa_mm.datasets.images import image_size, read_image
from lisa_mm.datasets.mask_images import read_mask
from lisa_mm.errors import DataError

def taken():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = taken()
photograph, *bombs = sys.argv[1:]
for path in bombs:
    for read in (read_image, image_size, read_mask):
        try:
            read(path)
        except DataError as error:
            print(path in str(error) and 'is too large' in str(error))
print(taken() - before < 50e6)
height, width = read_image(photograph).shape[:2]
print(height, width, (taken() - before) / (height * width))
"""


@pytest.mark.slow
def test_large_files(tmp_path):
    """120 million pixels take the stated memory; bombs, around Pillow's own limits, take none, without a warning."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = save(tmp_path / 'a.jpg', Image.new('RGB', (12_000, 10_000), (9, 8, 7)), exif=exif)
    sizes = [(MAX_PIXELS // 10_000 + 1, 10_000), (40_000, 40_000), (2**31 - 1, 2**31 - 1)]
    bombs = [png(tmp_path / f'{n}.png', b'', width, height, 8, 2) for n, (width, height) in enumerate(sizes)]
    command = [sys.executable, '-c', LARGE, photograph, *bombs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    *refused, last = done.stdout.splitlines()
    assert refused == ['True'] * (9 + 1)
    height, width, taken = last.split()
    assert (height, width) == ('12000', '10000')
    page = Path(__file__).parents[2].joinpath('docs', 'images.md').read_text(encoding='utf-8')
    stated = re.search(r'(\d+) of them for\s+reading a turned one', page)
    assert stated and float(taken) < int(stated[1]) + 0.5


@pytest.mark.parametrize(
    'value_range', [(5,), (1, 2, 3), (3, 3), (4095, 0), (0, float('nan')), (float('-inf'), 1), [0, float('inf')]]
)
def test_a_value_range_is_two_numbers(value_range):
    with pytest.raises(ConfigError, match='give two numbers, the lower first'):
        LoadImage(value_range=value_range)


def test_8_bits_have_no_value_range(tmp_path):
    path = save(tmp_path / 'a.png', colours())
    assert np.array_equal(read_image(path, (0, 4095)), colours())


def test_a_wrong_value_range_is_noted(tmp_path):
    path = save(tmp_path / 'a.png', deep())
    for value_range, words in (((0, 4095), 'become white'), ((0, 1e9), 'uses little of value_range')):
        notes: list[str] = []
        read_image(path, value_range, notes=notes)
        assert len(notes) == 1 and words in notes[0]


def test_an_opened_image_is_left_as_it_was(tmp_path):
    image = Image.fromarray(numbers())
    image.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    image.info['transparency'] = bytes([0, 255, 255, 255])
    assert to_rgb(image).shape == (HEIGHT, WIDTH, 3)
    assert image.mode == 'P' and 'transparency' in image.info


def test_faint_values_of_a_mask_are_noted():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    assert mask_note(mask) is None
    mask[0, 0] = 3
    assert '1 pixels with values below 128' in str(mask_note(mask))
    assert mask_note(numbers()) is None  # a few numbers: instances
    assert mask_note(mask.astype(np.uint16)) is None
    assert mask_note(np.zeros((0, 0), np.uint8)) is None
