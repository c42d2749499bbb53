"""Pictures of a terminal's kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from lisa_mm.chat.pictures import HalfBlocks, half_blocks, picture_drawer
from lisa_mm.errors import UserError

IMAGE = np.full((200, 100, 3), 90, np.uint8)
NONE = np.zeros((0, 200, 100), bool)


def terminal(colors='truecolor', encoding='utf-8', **more) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, color_system=colors, **{'force_terminal': True, 'width': 60, 'height': 26, **more})


def test_two_pixels_a_letter():
    console = terminal()
    console.print(HalfBlocks(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8)))
    console.file.flush()
    assert console.file.buffer.getvalue().decode() == '\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m\n'


@pytest.mark.parametrize(
    ('height', 'width', 'size'),
    [(200, 100, (20, 20)), (100, 200, (60, 15)), (1, 1000, (60, 1)), (1000, 1, (1, 20)), (10, 10, (40, 20))],
)
def test_sizes_keep_the_shape_and_fit(height, width, size):
    draw = picture_drawer(terminal(), 'blocks')
    assert draw is not None
    drawn = draw(np.zeros((height, width, 3), np.uint8), np.zeros((0, height, width), bool), [])
    assert drawn.pixels.shape == (2 * size[1], size[0], 3)


def test_a_mask_of_one_pixel_is_seen():
    mask = np.zeros((1, 200, 100), bool)
    mask[0, 50, 50] = True
    drawn = half_blocks(IMAGE, mask, [(255, 0, 0)], 10, 10).pixels
    assert (drawn != 90).any()
    assert (half_blocks(IMAGE, mask & False, [(255, 0, 0)], 10, 10).pixels == 90).all()


@pytest.mark.parametrize(
    'console',
    [
        terminal(force_terminal=False),
        terminal('standard'),
        terminal(None),
        terminal(encoding='ascii'),
        terminal(_environ={'TERM': 'dumb'}),
    ],
    ids=['file', '16 colours', 'no colour', 'ascii', 'dumb'],
)
def test_other_terminals_have_no_pictures(console):
    assert picture_drawer(console) is None


def test_256_colours():
    console = terminal('256')
    draw = picture_drawer(console)
    assert draw is not None
    console.print(draw(IMAGE, NONE, []))
    console.file.flush()
    assert b'38;5;' in console.file.buffer.getvalue()


def test_ways():
    assert picture_drawer(terminal(), 'none') is None
    with pytest.raises(UserError, match="pictures as 'block'; allowed: auto, blocks, none"):
        picture_drawer(terminal(), 'block')
