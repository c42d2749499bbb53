"""Pictures in a terminal: half blocks in colour, or its own pictures where it has them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from PIL import Image
from rich.color import Color as RichColor
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from ..drawing import draw_answer
from ..errors import UserError
from ..visualization import Color

WAYS = ('auto', 'blocks', 'none')
WIDEST = 80  # columns
LINES_LEFT = 6  # of the screen, for question and answer
Draw = Callable[[np.ndarray, np.ndarray, Sequence[Color]], Any]


class HalfBlocks:
    """An image as half blocks, each two pixels: the upper one in the colour of the letter, the lower one behind it.

    Where a terminal has 256 colours, rich takes the nearest ones.

    Args:
        pixels: (2 * rows, columns, 3) uint8 RGB.
    """

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for upper, lower in zip(self.pixels[::2].tolist(), self.pixels[1::2].tolist(), strict=True):
            for above, below in zip(upper, lower, strict=True):
                yield Segment('▀', Style(color=RichColor.from_rgb(*above), bgcolor=RichColor.from_rgb(*below)))
            yield Segment.line()


def picture_drawer(console: Console, way: str = 'auto') -> Draw | None:
    """How this terminal shows a picture: (image, masks, colours) -> what rich prints; None if it does not.

    With ``auto``, where the package textual-image is installed (the extra ``chat``) and the terminal knows pictures (kitty's or
    sixel), these are shown; otherwise half blocks, where there are 256 colours or more.

    Args:
        console: The terminal.
        way: One of :data:`WAYS`.

    Raises:
        UserError: for another way.
    """
    if way not in WAYS:
        raise UserError(f'pictures as {way!r}; allowed: {", ".join(WAYS)}')
    if way == 'none' or not console.is_terminal or console.is_dumb_terminal or not console.encoding.startswith('utf'):
        return None
    show = _own_pictures() if way == 'auto' else None
    if show is not None:
        return lambda image, masks, colors: show(draw_answer(image, masks, colors), *_size(console, image))
    if console.color_system not in ('truecolor', '256'):
        return None
    return lambda image, masks, colors: half_blocks(image, masks, colors, *_size(console, image))


def half_blocks(image: np.ndarray, masks: np.ndarray, colors: Sequence[Color], columns: int, rows: int) -> HalfBlocks:
    """An answer in half blocks, its masks drawn at that size.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (K, H, W) bool.
        colors: K colours.
        columns, rows: Size in letters.
    """
    size = (columns, 2 * rows)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    shares = [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) for mask in masks]
    # a small mask keeps the pixels where most of it is
    shrunk = [share > min(0.4, share.max() / 2) for share in shares]
    return HalfBlocks(draw_answer(small, np.array(shrunk).reshape(-1, *small.shape[:2]), colors, alpha=0.6))


def _size(console: Console, image: np.ndarray) -> tuple[int, int]:
    """Columns and rows for an image, of which a letter takes about 1 x 2."""
    height, width = image.shape[:2]
    columns = min(WIDEST, console.width)
    rows = max(1, round(columns * height / width / 2))
    most = max(4, console.height - LINES_LEFT)
    if rows > most:
        columns, rows = max(1, round(columns * most / rows)), most
    return columns, rows


def _own_pictures() -> Callable[[np.ndarray, int, int], Any] | None:
    """The terminal's own pictures, if the package is here that knows them; it asks the terminal, which takes 0.1 s."""
    if find_spec('textual_image') is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    renderable = import_module('textual_image.renderable')
    if renderable.Image not in (renderable.SixelImage, renderable.TGPImage):
        return None
    return lambda pixels, columns, rows: renderable.Image(Image.fromarray(pixels), width=columns, height=rows)
