"""Draw masks on images, and sheets of such pictures."""

from __future__ import annotations

import math
import os
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Color = tuple[int, int, int]
TRUE_COLOR: Color = (0, 220, 60)

_COLUMNS = 4
_CELL = 3.2  # inches
_CAPTION_LINES = 5
_CAPTION_CHARACTERS = 46
_BOILERPLATE = re.compile(r'\s*Please (?:output|respond with) segmentation mask[^.]*\.')


def contact_sheet(items: Sequence[tuple[np.ndarray, str]], path: str | Path, *, title: str = '') -> Path:
    """Write pictures with captions as one PNG.

    Args:
        items: Pairs of image (H, W, 3) uint8 and caption; long captions are wrapped, then cut.
        path: The file; its folder is created.
        title: Title of the sheet.

    Returns:
        The path.

    Raises:
        ValueError: without items.
    """
    if not items:
        raise ValueError(f'no pictures for {path}')
    columns = min(_COLUMNS, len(items))
    rows = math.ceil(len(items) / columns)
    # each row is as high as its tallest picture, without empty bands
    heights = [_row_height(items[begin : begin + columns]) for begin in range(0, len(items), columns)]
    figure = Figure(figsize=(_CELL * columns, sum(heights) + 0.4), layout='constrained')
    grid = figure.add_gridspec(rows, columns, height_ratios=heights)
    for index, (image, caption) in enumerate(items):
        axes = figure.add_subplot(grid[divmod(index, columns)], anchor='N')
        axes.imshow(image)
        axes.set_xticks([])
        axes.set_yticks([])
        # a '$' in a question does not start a formula
        axes.set_xlabel(_wrap(caption), fontsize=8, parse_math=False)
    if title:
        figure.suptitle(title, fontsize=9, parse_math=False)
    return save_figure(figure, path)


def _row_height(items: Sequence[tuple[np.ndarray, str]]) -> float:
    """Height of a row in inches, captions included."""
    tallest = max(image.shape[0] / image.shape[1] for image, _ in items)
    return _CELL * min(1.5, tallest) + 0.15 * max(_wrap(caption).count('\n') + 1 for _, caption in items) + 0.2


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 110) -> Path:
    """Write a figure as PNG atomically.

    Args:
        figure: The figure.
        path: The file; its folder is created.
        dpi: Pixels per inch.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.tmp_{path.name}')
    with warnings.catch_warnings():
        # letters that the font lacks appear as boxes; a warning for each would help nobody
        warnings.filterwarnings('ignore', message='.*[Gg]lyph.*')
        FigureCanvasAgg(figure).print_figure(temporary, format='png', dpi=dpi)
    os.replace(temporary, path)
    return path


def short_question(question: str) -> str:
    """A question without image placeholder and the recipe's closing request, on one line."""
    text = ' '.join(question.replace('<image>', ' ').split())
    return _BOILERPLATE.sub('', text).strip() or text


def _wrap(caption: str) -> str:
    lines = [part for line in caption.splitlines() for part in textwrap.wrap(line, _CAPTION_CHARACTERS) or ['']]
    if len(lines) > _CAPTION_LINES:
        lines = [*lines[: _CAPTION_LINES - 1], lines[_CAPTION_LINES - 1][: _CAPTION_CHARACTERS - 2] + ' …']
    return '\n'.join(lines)
