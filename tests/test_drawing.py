"""Masks are seen on any object, by any reader, and in grey."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lisa_mm.drawing import BESIDE_GREEN, DARK, PALETTE, draw_answer, draw_outline, line_width, mask_colors
from lisa_mm.visualization import TRUE_COLOR

# Machado, Oliveira and Fernandes 2009, full severity; on linear RGB
EYES = {
    'deuteranopia': ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    'protanopia': ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    'tritanopia': ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def seen(colors, eyes=None):
    """(P, 3) CIE Lab of colours as these eyes see them."""
    values = np.asarray(colors, np.float64) / 255
    if eyes:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ np.array(EYES[eyes]).T
        linear = linear.clip(0, 1)
        values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(values.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]


def nearest(colors):
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    return distances[~np.eye(len(colors), dtype=bool)].min()


def disc(background, color, size=(60, 80)):
    """An image with a disc, and its mask."""
    mask = cv2.circle(np.zeros(size, np.uint8), (40, 30), 20, 1, -1) > 0
    image = np.zeros((*size, 3), np.uint8)
    image[:] = background
    image[mask] = color
    return image, mask[None]


def lightness(image):
    return seen(image.reshape(-1, 3)).reshape(image.shape)[..., 0]


def test_the_palette_is_told_apart():
    assert nearest(seen(PALETTE)) > 48
    assert all(nearest(seen(PALETTE, eyes)) > 24 for eyes in EYES)
    assert np.diff(np.sort(seen(PALETTE)[:, 0])).min() > 5.5  # in grey
    for eyes in (None, *EYES):
        both = seen([TRUE_COLOR, *BESIDE_GREEN], eyes)
        assert np.linalg.norm(both[1:] - both[0], axis=1).min() > 20


@pytest.mark.parametrize('color', [*PALETTE, (255, 0, 0), (255, 140, 20), (0, 0, 0), (255, 255, 255), (128, 128, 128)])
def test_a_mask_takes_a_colour_that_its_object_has_not(color):
    image, masks = disc((128, 120, 110), color)
    chosen = mask_colors(image, masks)
    assert np.linalg.norm(seen(chosen) - seen([color])) > 60
    assert mask_colors(image, masks) == chosen


def test_what_lies_around_counts_too():
    image, masks = disc(PALETTE[7], (0, 0, 0))  # on black alone, the yellow would be best
    assert mask_colors(disc((0, 0, 0), (0, 0, 0))[0], masks) == [PALETTE[7]]
    assert mask_colors(image, masks) != [PALETTE[7]]


def test_masks_have_colours_of_their_own_and_keep_them():
    image, masks = disc((90, 90, 90), (200, 40, 30))
    many = np.repeat(masks, 12, axis=0)
    many[3] = False
    colors = mask_colors(image, many)
    assert len(set(colors[:8])) == 8
    assert colors[8] == colors[0]
    assert all(mask_colors(image, many[:k]) == colors[:k] for k in (0, 1, 5, 11))
    assert set(mask_colors(image, many, palette=BESIDE_GREEN)) == set(BESIDE_GREEN)


@pytest.mark.parametrize('size', [(60, 80), (900, 1200)])
@pytest.mark.parametrize('color', [*PALETTE, (0, 0, 0), (255, 255, 255), (60, 130, 60), (0, 220, 60)])
def test_the_border_has_a_dark_and_a_light_line_on_any_colour(color, size):
    image, masks = disc(color, color)
    image, mask = (cv2.resize(a.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) for a in (image, masks[0]))
    masks = mask[None] > 0
    drawn = draw_answer(image, masks, mask_colors(image, masks))
    width = line_width(image)
    assert width == (1 if size[0] == 60 else 4)
    middle, found = size[0] // 2, np.flatnonzero(masks[0][size[0] // 2])
    row, left = lightness(drawn[middle : middle + 1])[0], found[0]
    assert row[left - width : left].max() < 6
    assert row[left : left + width].min() > 75
    assert (drawn[middle, left - width - 1] == image[middle, left - width - 1]).all()


def test_the_fill_and_the_given_image():
    image, masks = disc((100, 100, 100), (100, 100, 100))
    before = image.copy()
    drawn = draw_answer(image, masks, [(200, 0, 100)], alpha=0.5)
    assert (image == before).all()
    assert drawn[30, 40].tolist() == [150, 50, 100]
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert draw_answer(image, masks, [(200, 0, 100)], alpha=0)[30, 40].tolist() == [100, 100, 100]
    assert (draw_answer(image, masks[:0], []) == before).all()
    assert (draw_answer(image, np.zeros_like(masks), [(1, 2, 3)]) == before).all()


def test_masks_at_the_edge_and_of_one_pixel():
    image = np.full((32, 32, 3), 128, np.uint8)
    whole = np.ones((1, 32, 32), bool)
    drawn = draw_outline(image, whole[0], (255, 255, 0))
    assert drawn[0, 0].tolist() == drawn[31, 16].tolist() == [255, 255, 0]  # the edge ends the mask
    assert drawn[16, 16].tolist() == [128, 128, 128]
    dot = np.zeros((1, 32, 32), bool)
    dot[0, 31, 0] = True
    drawn = draw_answer(image, dot, [(255, 255, 0)])
    assert drawn[31, 0].tolist() == [255, 255, 0]
    assert drawn[30, 0].tolist() == drawn[31, 1].tolist() == list(DARK)


def test_a_small_mask_lies_on_a_large_one():
    image, masks = disc((100, 100, 100), (100, 100, 100))
    small = np.zeros_like(masks)
    small[0, 20:40, 30:50] = True
    for order in ((0, 1), (1, 0)):
        both = np.concatenate([masks, small])[list(order)]
        drawn = draw_answer(image, both, [((200, 0, 0), (0, 0, 200))[k] for k in order], alpha=1)
        assert drawn[30, 40].tolist() == [0, 0, 200]
        assert drawn[30, 25].tolist() == [200, 0, 0]


def test_sizes_and_numbers_that_do_not_fit():
    image, masks = disc((0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match='of one size'):
        mask_colors(image, masks[:, 1:])
    with pytest.raises(ValueError, match='of one size'):
        draw_outline(image, masks[0, 1:], (0, 0, 0))
    with pytest.raises(ValueError, match='1 masks but 0 colours'):
        draw_answer(image, masks, [])
