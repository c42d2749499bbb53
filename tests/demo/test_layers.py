from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from lisa_mm.demo.layers import grey_of, map_of, mask_layers, picture_of
from lisa_mm.drawing import mask_colors


def decode(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(',')[1])))


def test_a_grey_value_says_on_which_side_of_the_threshold_a_logit_is() -> None:
    logits = np.array([[-100, -1, -1e-6, 0, 1e-6, 1, 100]], np.float32)
    np.testing.assert_array_equal(grey_of(logits), [[0, 112, 128, 128, 129, 144, 255]])


def test_a_map_comes_back_as_it_was() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (30, 50)).astype(np.float32)
    back = np.array(decode(map_of(logits)))
    np.testing.assert_array_equal(back, grey_of(logits))
    np.testing.assert_array_equal(back > 128, logits > 0)


def test_large_images_and_maps_are_made_smaller() -> None:
    assert decode(picture_of(np.zeros((1500, 3200, 3), np.uint8))).size == (1600, 750)
    assert decode(picture_of(np.zeros((9000, 2, 3), np.uint8))).size == (1, 1600)
    assert decode(picture_of(np.zeros((7, 9, 3), np.uint8))).size == (9, 7)
    assert decode(map_of(np.zeros((4096, 1024), np.float32))).size == (256, 1024)


def test_the_picture_has_its_colours() -> None:
    image = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    assert np.abs(np.array(decode(picture_of(image))).astype(int) - (200, 100, 30)).max() <= 3


def test_a_further_mask_changes_no_earlier_colour() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    logits = np.full((3, 40, 40), -1, np.float32)
    for k in range(3):
        logits[k, 10 * k : 10 * k + 8] = 1
    one, three = mask_layers(image, logits[:1], ['a']), mask_layers(image, logits, ['a', 'b', 'c'])
    assert one[0] == three[0]
    assert [layer.color for layer in three] == ['#{:02x}{:02x}{:02x}'.format(*c) for c in mask_colors(image, logits > 0)]
    assert len({layer.color for layer in three}) == 3
    assert [layer.label for layer in three] == ['a', 'b', 'c']
    assert mask_layers(image, logits[:0], []) == ()
