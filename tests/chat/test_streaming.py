"""Mask tokens wait for the colour of their mask."""

from __future__ import annotations

import io
import re

import numpy as np
import torch
from rich.console import Console

from lisa_mm.apis.answers import Answer
from lisa_mm.chat.streaming import AnswerPrinter, printable
from lisa_mm.drawing import mask_colors

IMAGE = np.full((8, 8, 3), 90, np.uint8)
MASKS = np.zeros((3, 8, 8), bool)
MASKS[0, :2], MASKS[1, 3:5], MASKS[2, 6:] = True, True, True


def logits(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(mask, 2.0, -2.0).astype(np.float32))


def printed(console: Console) -> str:
    return console.export_text(clear=False)


def chips(console: Console) -> list[tuple[int, int, int]]:
    """The colours behind the mask tokens."""
    found = re.findall(r'48;2;(\d+);(\d+);(\d+)m\[SEG\]', console.export_text(clear=False, styles=True))
    return [(int(red), int(green), int(blue)) for red, green, blue in found]


def start(earlier: int = 0) -> tuple[Console, AnswerPrinter]:
    console = Console(record=True, force_terminal=True, color_system='truecolor', width=200, file=io.StringIO())
    return console, AnswerPrinter(console, IMAGE, MASKS[:earlier], ('[SEG]',))


def test_each_mask_token_has_the_colour_of_its_mask():
    console, printer = start(earlier=1)
    printer.feed('It is ')
    assert printed(console) == 'It is '
    printer.feed('[SEG]')
    assert printed(console) == 'It is '
    printer.feed((0, logits(MASKS[1])))
    assert printed(console) == 'It is [SEG]'
    printer.feed(' and [SEG].')
    printer.feed((1, logits(MASKS[2])))
    printer.feed(Answer('It is [SEG] and [SEG].', MASKS, MASKS.astype(np.float32), earlier=1))
    assert printed(console) == 'It is [SEG] and [SEG].\n'
    assert chips(console) == mask_colors(IMAGE, MASKS)[1:]


def test_masks_that_come_at_the_end_hold_nothing_back():
    console, printer = start()
    printer.feed('A [SEG]')
    printer.feed(' cup')
    assert printed(console) == 'A [SEG] cup'
    printer.feed(' [SEG]')
    printer.feed(Answer('', MASKS[:2], MASKS[:2].astype(np.float32)))
    assert chips(console) == [mask_colors(IMAGE, MASKS[:2])[1]]


def test_a_model_cannot_change_the_terminal():
    assert printable('a\x1b[2Jb\nc\x07é') == 'a [2Jb\nc é'
    console, printer = start()
    printer.feed('[bold]x[/bold]\x1b[2J')
    assert printed(console) == '[bold]x[/bold] [2J'
