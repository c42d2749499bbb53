"""The page of an answer: sizes, chips, and texts of any kind."""

from __future__ import annotations

import numpy as np
import pytest

from lisa_mm.drawing import DARK, PALETTE, WHITE, mask_colors
from lisa_mm.pages import contrast, draw_page, ink_on


def scene(height, width, count):
    image = np.full((height, width, 3), 128, np.uint8)
    masks = np.zeros((count, height, width), bool)
    for k in range(count):
        masks[k, k * height // count : (k + 1) * height // count, : width // 2] = True
    return image, masks


def page(height=60, width=80, count=2, pieces=None, question='Which?', **options):
    image, masks = scene(height, width, count)
    if pieces is None:
        pieces = [piece for k in range(count) for piece in ((f'one {k} ', None), ('[SEG]', k))]
    return draw_page(image, masks, mask_colors(image, masks), pieces, question, **options)


def test_text_on_chips_is_read():
    assert contrast((0, 0, 0), WHITE) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails
    assert all(contrast(ink_on(color), color) >= 4.5 for color in PALETTE)
    grid = [(r, g, b) for r in range(0, 256, 51) for g in range(0, 256, 51) for b in range(0, 256, 51)]
    assert min(contrast(ink_on(color), color) for color in grid) > 4.2  # colours that a caller may choose


@pytest.mark.parametrize('count', [0, 1, 12])
@pytest.mark.parametrize(
    ('height', 'width', 'wide'), [(32, 32, 640), (1, 1, 640), (900, 700, 700), (3000, 4000, 1600), (900, 9, 640)]
)
def test_images_of_any_size(height, width, wide, count):
    drawn = page(height, width, count)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1:] == (wide, 3)
    assert drawn.shape[0] > min(1.2, height / width) * wide  # the picture and text below it
    assert drawn[-1].min() == 255


def test_every_mask_token_is_a_chip_of_its_colour():
    image, masks = scene(60, 80, 3)
    colors = mask_colors(image, masks)
    drawn = draw_page(image, masks, colors, [('A ', None), ('[SEG]', 2), ('.', None)], 'Which?')
    text = drawn[480:]  # below the picture of 640 x 480
    answer = text[45:80]
    assert (answer == colors[2]).all(-1).sum() > 200
    assert not (answer == colors[0]).all(-1).any()
    assert all((text[80:] == color).all(-1).sum() > 200 for color in colors)  # the legend has all


def test_a_mask_shows_its_number_and_one_pixel_stays():
    image, masks = scene(3000, 4000, 1)
    masks[:] = False
    masks[0, 1501, 2003] = True
    drawn = draw_page(image, masks, [(221, 255, 17)], [('[SEG]', 0)], 'the dot')
    picture = drawn[:1200]
    assert (picture == (221, 255, 17)).all(-1).sum() > 100  # the disc of its number
    assert (picture == DARK).all(-1).any()


def test_long_texts_wrap():
    short, long = page(), page(question='word ' * 200)
    assert long.shape[0] > short.shape[0] + 300
    one = page(question='w' * 1000)
    assert one.shape[0] > short.shape[0] + 100
    assert one[:, -10:][480:].min() == 255  # nothing runs out of the page
    lines = page(pieces=[('a\nb\n\nc', None)])
    assert lines.shape[0] > page(pieces=[('a b c', None)]).shape[0] + 55


@pytest.mark.parametrize('text', ['', ' ', '\n', '猫はどこですか', '$x_1 $', '\t\x00\u200b', '\ud800', 'نص', '🦆'])
def test_any_letters(text):
    assert page(pieces=[(text, None), ('[SEG]', 1)], question=text).shape[1] == 640


def test_scores():
    with_scores = page(scores=[0.5, 1.0])
    assert with_scores.shape == page().shape
    assert (with_scores != page()).any()
    with pytest.raises(ValueError, match='2 masks but 1 scores'):
        page(scores=[0.5])
    with pytest.raises(ValueError, match='of one size'):
        draw_page(np.zeros((4, 4, 3), np.uint8), np.zeros((1, 5, 4), bool), [DARK], [], 'a')
