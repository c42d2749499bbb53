"""Photographs that a camera stored sideways."""

from __future__ import annotations

import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from lisa_mm.apis.answers import Answer
from lisa_mm.apis.asking import read_image
from lisa_mm.apis.saving import save_answer
from lisa_mm.datasets import ReasonSegDataset
from lisa_mm.datasets.images import image_size
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage


def photograph(path, orientation: int) -> np.ndarray:
    """A photograph 40 wide and 80 high with a bright object at the upper left, as a viewer shows it."""
    shown = np.full((80, 40, 3), 30, np.uint8)
    shown[8:32, 4:20] = (240, 200, 40)
    turned = Image.fromarray(shown)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # what must be stored to be shown like this: the turn that orientation undoes
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    tag = Image.Exif()
    tag[0x0112] = inverse
    turned.info['exif'] = tag.tobytes()
    stored = ImageOps.exif_transpose(turned)
    stored.save(path, exif=exif.tobytes(), quality=95, subsampling=0)
    return shown


@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_image_is_as_viewers_show_it(tmp_path, orientation):
    path = tmp_path / 'phone.jpg'
    shown = photograph(path, orientation)
    loaded = LoadImage().transform({'img_path': str(path), 'sample_id': 'phone'})
    assert loaded['original_size'] == image_size(path) == (80, 40)
    assert np.abs(loaded['img'].astype(int) - shown).mean() < 3
    assert np.abs(loaded['img'].astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 4  # two decoders  # pyright: ignore[reportOptionalSubscript] - it is there
    with Image.open(path) as image:
        assert np.array_equal(loaded['img'], np.array(ImageOps.exif_transpose(image).convert('RGB')))
        assert np.array_equal(loaded['img'], read_image(image)['img'])
    mask = np.zeros((1, 80, 40), bool)
    answer = Answer('[SEG]', mask, mask.astype(np.float32), image=loaded['img'], name=str(path))
    overlay = save_answer(answer, tmp_path / 'out')[-1]
    assert image_size(overlay) == (80, 40)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['tif', 'png', 'webp'])
def test_other_formats_are_turned_once(tmp_path, kind, orientation):
    path = tmp_path / f'scan.{kind}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 32, 3), np.uint8))
    stored.save(path, **({'tiffinfo': {0x0112: orientation}} if kind == 'tif' else {'exif': exif, 'lossless': True}))
    with Image.open(path) as image:
        shown = np.array(ImageOps.exif_transpose(image).convert('RGB'))
    loaded = LoadImage().transform({'img_path': str(path), 'sample_id': 'scan'})
    assert np.array_equal(loaded['img'], shown)
    assert image_size(path) == shown.shape[:2]
    with Image.open(path) as image:
        assert np.array_equal(read_image(image)['img'], shown)


def test_a_png_with_its_tag_behind_the_pixels(tmp_path):
    path, behind = tmp_path / 'plain.png', tmp_path / 'behind.png'
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(np.zeros((48, 32, 3), np.uint8))
    photo.save(path)
    data, tag = path.read_bytes(), exif.tobytes().removeprefix(b'Exif\0\0')
    # a png may have its tag behind the pixels
    chunk = struct.pack('>I', len(tag)) + b'eXIf' + tag + struct.pack('>I', zlib.crc32(b'eXIf' + tag))
    behind.write_bytes(data[:-12] + chunk + data[-12:])
    assert image_size(behind) == LoadImage().transform({'img_path': str(behind), 'sample_id': 'b'})['original_size'] == (32, 48)


def test_a_polygon_lies_on_the_object(tmp_path):
    folder = tmp_path / 'reason_seg' / 'ReasonSeg' / 'train'
    folder.mkdir(parents=True)
    shown = photograph(folder / 'phone.jpg', 6)
    points = [[4, 8], [19, 8], [19, 31], [4, 31]]
    record = {'text': ['the box'], 'is_sentence': False, 'shapes': [{'label': 'target', 'points': points}]}
    (folder / 'phone.json').write_text(json.dumps(record))
    dataset = ReasonSegDataset(str(tmp_path), split='train', pipeline=[LoadImage(), DecodeMasks()])
    sample = dataset[0]
    object_ = shown[..., 0] > 100
    mask = sample['gt_masks'][0] == 1
    assert (mask & object_).sum() / (mask | object_).sum() > 0.95
    assert sample['img'][mask].mean() > 2 * sample['img'][~mask].mean()
