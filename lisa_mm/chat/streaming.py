"""Prints an answer while it comes, each mask token in the colour of its mask."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import numpy as np
from rich.color import Color as RichColor
from rich.console import Console
from rich.style import Style
from rich.text import Text

from ..apis.answers import Answer
from ..drawing import mask_colors
from ..pages import ink_on
from ..visualization import Color


def chip(text: str, color: Color) -> Text:
    """A text on a colour, in black or white ink."""
    return Text(text, Style(color=RichColor.from_rgb(*ink_on(color)), bgcolor=RichColor.from_rgb(*color), bold=True))


def printable(text: str) -> str:
    """A text without control characters, which could change the terminal."""
    return ''.join(letter if letter.isprintable() or letter == '\n' else ' ' for letter in text)


class AnswerPrinter:
    """Takes what :meth:`lisa_mm.apis.LISAInferencer.stream` yields, and prints it.

    A mask token waits for its mask, which comes next; a model that gives its masks at the end has them without colour.

    Args:
        console: Where to print.
        image: (H, W, 3) uint8 RGB.
        masks: (K, H, W) bool, masks of earlier answers, which have their colours.
        mask_tokens: The tokens that become masks.
    """

    def __init__(self, console: Console, image: np.ndarray, masks: np.ndarray, mask_tokens: tuple[str, ...]):
        self.console, self.image = console, image
        self.masks = list(masks)
        self.number = len(masks)  # of the next mask token
        self.waiting: deque[str] = deque()
        self.mask_tokens = mask_tokens
        self._split = re.compile('(' + '|'.join(map(re.escape, mask_tokens)) + ')')

    def feed(self, item: Any) -> None:
        """Print what has come."""
        if isinstance(item, str):
            self._print(plain=True)
            self.waiting += [piece for piece in self._split.split(item) if piece]
        elif isinstance(item, Answer):
            self.masks = list(item.masks)
            self._print(plain=True)
            self.console.print()
            return
        else:
            self.masks.append(item[1].float().cpu().numpy() > 0)
        self._print()

    def _print(self, *, plain: bool = False) -> None:
        """Print what is waiting, as far as colours are known; with ``plain``, the rest without colour."""
        while self.waiting:
            piece = self.waiting[0]
            text = Text(printable(piece))
            if piece in self.mask_tokens:
                if self.number < len(self.masks):
                    text = chip(piece, mask_colors(self.image, np.stack(self.masks))[self.number])
                elif plain:
                    text = Text(piece, 'bold')
                else:
                    return
                self.number += 1
            self.waiting.popleft()
            self.console.print(text, end='', soft_wrap=True)
        self.console.file.flush()
