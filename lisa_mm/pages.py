"""A page of one answer: the picture with its masks, the question, the answer with coloured mask tokens, and a legend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import cv2
import numpy as np
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from .drawing import DARK, WHITE, checked_masks, draw_answer
from .visualization import Color

NARROWEST, WIDEST = 640, 1600  # pixels of a page

_INK: Color = (32, 32, 32)
_FAINT: Color = (89, 89, 89)  # 7:1 on white
# the first one comes with matplotlib; the others are taken where they are installed, for letters that it lacks
_FAMILIES = ('DejaVu Sans', 'Noto Sans CJK JP', 'Noto Sans', 'WenQuanYi Zen Hei', 'Arial Unicode MS', 'Segoe UI', 'Noto Emoji')

Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class _Run:
    """Text of one font on one line; a chip if it has a colour behind it."""

    text: str
    font: Font
    ink: Color = _INK
    behind: Color | None = None

    @property
    def width(self) -> float:
        return self.font.getlength(self.text) + (1.4 * self.font.size if self.behind else 0)


def draw_page(
    image: np.ndarray,
    masks: np.ndarray,
    colors: Sequence[Color],
    pieces: Iterable[tuple[str, int | None]],
    question: str,
    *,
    scores: Sequence[float] | None = None,
    alpha: float = 0.45,
) -> np.ndarray:
    """Draw an answer as one picture.

    Each mask token of the answer is a chip in the colour of its mask, with the mask's number, counted from 1; the same number
    stands on the mask, so that the page can be read in grey. Letters that no installed font has appear as boxes.

    Args:
        image: (H, W, 3) uint8 RGB of any size; it is shown 640 to 1600 pixels wide.
        masks: (K, H, W), true inside.
        colors: K colours, such as :func:`lisa_mm.drawing.mask_colors` chooses.
        pieces: The answer in pieces, each with the index of its mask; None for words.
        question: The question.
        scores: K scores from 0 to 1 for the legend.
        alpha: Opacity of the masks.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: if image and masks differ in size, or the number of colours or scores is another one.
    """
    if scores is not None and len(scores) != len(masks):
        raise ValueError(f'there are {len(masks)} masks but {len(scores)} scores: give each mask one, or none at all')
    masks = checked_masks(image, masks)
    picture = _picture(image, masks, colors, alpha)
    width = picture.shape[1]
    size = max(15, round(width / 48))
    margin = size
    answer: list[tuple[str, int | None]] = [*pieces]
    blocks = [
        [_Run('Question', _font(0, size), _FAINT), _Run(' ', _font(0, size)), *_words(question, size)],
        [_Run('Answer', _font(0, size), _FAINT), _Run(' ', _font(0, size)), *_answer_runs(answer, colors, size)],
        _legend(masks, colors, scores, size),
    ]
    lines = [line for block in blocks for line in [*_wrapped(block, width - 2 * margin), []]][:-1]
    steps = [round(size * (1.65 if line else 0.7)) for line in lines]
    page = Image.new('RGB', (width, picture.shape[0] + sum(steps) + 2 * margin), WHITE)
    page.paste(Image.fromarray(picture))
    y = picture.shape[0] + margin
    for line, step in zip(lines, steps, strict=True):
        x = float(margin)
        for run in line:
            _draw_run(page, run, x, y + step / 2)
            x += run.width
        y += step
    return np.array(page)


def ink_on(color: Color) -> Color:
    """Black or white, whichever is read better on a colour: the contrast is at least 4.5:1 (WCAG 2)."""
    return DARK if contrast(DARK, color) >= contrast(WHITE, color) else WHITE


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    dark, light = sorted(_luminance(color) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    values = np.asarray(color) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _picture(image: np.ndarray, masks: np.ndarray, colors: Sequence[Color], alpha: float) -> np.ndarray:
    """The image at its size on the page, with masks and their numbers; white beside an image that is tall."""
    height, width = image.shape[:2]
    page = min(WIDEST, max(NARROWEST, width))
    scale = min(page / width, 1.2 * page / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # pixels of a tiny image stay pixels
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 4 else cv2.INTER_CUBIC
    shown = cv2.resize(image, size, interpolation=way)
    scaled = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    small = np.stack(scaled) if scaled else np.zeros((0, *shown.shape[:2]), bool)
    # a mask of a few pixels does not vanish from a small picture
    for mask, given in zip(small, masks, strict=True):
        if given.any() and not mask.any():
            row, column = np.argwhere(given)[0]
            mask[min(int(row * scale), len(mask) - 1), min(int(column * scale), mask.shape[1] - 1)] = True
    drawn = Image.fromarray(draw_answer(shown, small, colors, alpha=alpha))
    font = _font(0, max(13, round(page / 56)))
    for number, mask in enumerate(small):
        if mask.any():
            _draw_number(drawn, number, mask, colors[number], font)
    picture = np.full((size[1], page, 3), 255, np.uint8)
    left = (page - size[0]) // 2
    picture[:, left : left + size[0]] = np.array(drawn)
    return picture


def _draw_number(picture: Image.Image, number: int, mask: np.ndarray, color: Color, font: Font) -> None:
    """The mask's number on a disc, where the mask is widest."""
    # the image's edge ends the mask
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    radius = 0.85 * font.size if number < 9 else font.size
    if depth.max() < radius:  # a small mask is not hidden by its number
        y = y - radius - depth.max() - 2 if y > 2 * radius + depth.max() + 2 else y + radius + depth.max() + 2
    x = min(max(x, radius + 1), mask.shape[1] - radius - 2)
    y = min(max(y, radius + 1), mask.shape[0] - radius - 2)
    run = _Run(str(number + 1), font, ink_on(color), color)
    _draw_chip(picture, (x - radius, y - radius, x + radius, y + radius), run, round_by=radius / font.size)


def _answer_runs(pieces: Sequence[tuple[str, int | None]], colors: Sequence[Color], size: int) -> list[_Run]:
    runs = []
    for text, number in pieces:
        runs += _words(text, size) if number is None else [_chip(number, colors[number], size)]
    return runs or _words('(no words)', size, _FAINT)


def _legend(masks: np.ndarray, colors: Sequence[Color], scores: Sequence[float] | None, size: int) -> list[_Run]:
    if not len(masks):
        return _words('no mask', size, _FAINT)
    runs = []
    for number, mask in enumerate(masks):
        notes = [f'score {scores[number]:.2f}'] if scores is not None else []
        notes += [] if mask.any() else ['empty']
        # no-break spaces keep a number with its note
        text = '\u00a0' + ',\u00a0'.join(notes or [f'mask {number + 1}']).replace(' ', '\u00a0')
        runs += [_chip(number, colors[number], size), *_words(text, size, _FAINT), _Run('   ', _font(0, size))]
    return runs[:-1]


def _chip(number: int, color: Color, size: int) -> _Run:
    return _Run(str(number + 1), _font(0, size), ink_on(color), color)


def _words(text: str, size: int, ink: Color = _INK) -> list[_Run]:
    """Words, spaces and line ends, each in the first font that has its letters."""
    text = text.encode('utf-8', 'replace').decode()
    shown = ''.join(letter if letter.isprintable() or letter in '\n\u00a0' else ' ' for letter in text)
    return [_Run(word, _font(_font_for(word), size), ink) for word in re.findall(r'\n| +|[^\n ]+', shown)]


def _wrapped(runs: Sequence[_Run], width: float) -> list[list[_Run]]:
    """Lines that are at most so wide. They end between words; a chip and what touches it are one word. A longer word is cut."""
    lines: list[list[_Run]] = [[]]
    used = 0.0
    for is_gap, group in groupby(runs, key=lambda run: not run.text.strip(' \n')):
        word = list(group)
        if any(run.text == '\n' for run in word):
            lines += [[] for run in word if run.text == '\n']
            used = 0.0
            continue
        parts = [word]
        if sum(run.width for run in word) > width:
            parts = [[part] for run in word for part in _cut(run, width)]
        for part in parts:
            wide = sum(run.width for run in part)
            if used + wide > width and lines[-1]:
                lines.append([])
                used = 0.0
            if lines[-1] or not is_gap:
                lines[-1] += part
                used += wide
    return lines


def _cut(run: _Run, width: float) -> list[_Run]:
    if run.width <= width:
        return [run]
    parts = ['']
    for letter in run.text:
        if parts[-1] and run.font.getlength(parts[-1] + letter) > width:
            parts.append('')
        parts[-1] += letter
    return [_Run(part, run.font, run.ink, run.behind) for part in parts]


def _draw_run(page: Image.Image, run: _Run, x: float, middle: float) -> None:
    size = run.font.size
    if run.behind:
        _draw_chip(page, (x + 0.15 * size, middle - 0.68 * size, x + run.width - 0.15 * size, middle + 0.68 * size), run)
    else:
        ImageDraw.Draw(page).text((x, middle + 0.36 * size), run.text, font=run.font, fill=run.ink, anchor='ls')


def _draw_chip(page: Image.Image, box: tuple[float, float, float, float], run: _Run, *, round_by: float = 0.4) -> None:
    """A box with round corners, a dark border, and the text in its middle."""
    left, top, right, bottom = (round(side) for side in box)
    size, fine = run.font.size, 4  # drawn larger, then reduced: smooth corners
    for inset, color in ((0.0, DARK), (max(1.0, size / 14), run.behind or WHITE)):
        shape = Image.new('L', ((right - left) * fine, (bottom - top) * fine))
        edges = (inset * fine, inset * fine, shape.width - 1 - inset * fine, shape.height - 1 - inset * fine)
        ImageDraw.Draw(shape).rounded_rectangle(edges, (round_by * size - inset) * fine, fill=255)
        page.paste(color, (left, top), shape.resize((right - left, bottom - top), Image.Resampling.BOX))
    # digits reach 0.73 of the size above their line
    ImageDraw.Draw(page).text(
        ((left + right) / 2, (top + bottom) / 2 + 0.36 * size), run.text, font=run.font, fill=run.ink, anchor='ms'
    )


@lru_cache(maxsize=1)
def _font_files() -> tuple[str, ...]:
    installed = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist) if entry.weight == 400}
    files = [font_manager.findfont(_FAMILIES[0]), *(installed[name] for name in _FAMILIES[1:] if name in installed)]
    return tuple(files)


@lru_cache(maxsize=64)
def _font(number: int, size: int) -> Font:
    return ImageFont.truetype(_font_files()[number], size)


@lru_cache(maxsize=16)
def _face(number: int) -> FT2Font:
    return FT2Font(_font_files()[number])


def _font_for(word: str) -> int:
    """The first font that has all letters of a word; the first of all if none has them."""
    fonts = range(len(_font_files()))
    return next((n for n in fonts if all(_face(n).get_char_index(ord(letter)) for letter in word)), 0)
