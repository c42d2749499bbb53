"""Large jpegs decoded at a fraction of their size for training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets.transforms import DecodeMasks, LoadImage, ResizeForMaskDecoder, image_loader
from lisa_mm.datasets.transforms.cached import cached_steps
from lisa_mm.errors import ConfigError

HEIGHT, WIDTH = 401, 799


@pytest.fixture
def photo(tmp_path):
    """A jpeg of 401 x 799 pixels, dark with a bright right half."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    pixels[:, 400:] = (250, 200, 10)
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', quality=95)
    return tmp_path / 'a.jpg'


def sample(path, *, test_mode=False):
    return {'img_path': str(path), 'sample_id': 'a', 'test_mode': test_mode}


@pytest.mark.parametrize(
    ('draft', 'shape'),
    [(None, (401, 799)), (400, (201, 400)), (401, (401, 799)), (200, (101, 200)), (90, (51, 100)), (1, (51, 100))],
)
def test_the_longer_side_keeps_what_is_asked_for(photo, draft, shape):
    loaded = LoadImage(draft=draft).transform(sample(photo))
    assert loaded['img'].shape == (*shape, 3)
    assert loaded['original_size'] == (HEIGHT, WIDTH)
    edge = loaded['img'].shape[1] // 2
    assert loaded['img'][:, : edge - 8].mean() < 30
    assert abs(loaded['img'][:, edge + 8 :].reshape(-1, 3).mean(0) - (250, 200, 10)).max() < 4


def test_a_turned_one_is_turned(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo) as image:
        image.save(tmp_path / 'b.jpg', exif=exif, quality=95)
    loaded = LoadImage(draft=400).transform(sample(tmp_path / 'b.jpg'))
    assert loaded['img'].shape == (400, 201, 3)
    assert loaded['original_size'] == (WIDTH, HEIGHT)


def test_masks_keep_the_size_of_the_file(photo):
    spec = {'shapes': [{'label': 'target', 'points': [[700, 10], [790, 10], [790, 90], [700, 90]], 'shape_type': 'polygon'}]}
    masks, sizes = [], []
    for draft in (None, 200):
        results = DecodeMasks().transform({**LoadImage(draft=draft).transform(sample(photo)), 'encoded_masks': [spec]})
        masks.append(results['gt_masks'])
        sizes.append(ResizeForMaskDecoder(dict(image_size=64, resize='longest_side')).transform(results)['resized_size'])
    assert masks[0].shape == (1, HEIGHT, WIDTH)
    assert masks[0].any()
    assert np.array_equal(*masks)
    assert sizes == [(32, 64)] * 2


def test_every_pixel_is_read_in_testing_and_where_images_are_shown(photo):
    load = LoadImage(draft=100)
    assert load.transform(sample(photo, test_mode=True))['img'].shape == (HEIGHT, WIDTH, 3)
    assert load.transform({'img_path': str(photo), 'sample_id': 'a'})['img'].shape == (HEIGHT, WIDTH, 3)
    shown = image_loader([LoadImage((0, 9), draft=100)])
    assert isinstance(shown, LoadImage)
    assert shown.transform(sample(photo))['img'].shape == (HEIGHT, WIDTH, 3)
    assert shown.value_range == (0, 9)


def test_a_png_is_read_whole(tmp_path):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / 'a.png')
    assert LoadImage(draft=10).transform(sample(tmp_path / 'a.png'))['img'].shape == (40, 60, 3)


@pytest.mark.parametrize('draft', [0, -1, 1.5, True, '1024'])
def test_what_is_no_number_of_pixels_is_refused(draft):
    with pytest.raises(ConfigError, match='give the pixels that the longer side must keep'):
        LoadImage(draft=draft)


@pytest.mark.parametrize('load', [{'type': 'LoadImage', 'draft': 64}, LoadImage(draft=64)])
def test_cached_features_are_those_of_whole_images(load):
    with pytest.raises(ConfigError, match='leave cache_features out'):
        cached_steps([load, {'type': 'ResizeForMaskDecoder'}])
