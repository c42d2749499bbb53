"""An answer with its masks, as text, arrays, boxes, polygons and run lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..datasets.run_lengths import RLE, encode_mask
from ..drawing import draw_answer, mask_colors
from ..errors import DataError
from ..labelling.outlines import Polygon, polygons_of_mask
from ..pages import draw_page
from ..tokens import MASK_TOKENS
from ..visualization import Color

NOTHING_TO_TRY = 'Ask for one thing by name, e.g. "the red cup", or make the model answer with a mask: force_seg=True.'


@dataclass
class Answer:
    """The model's answer.

    Args:
        text: The answer, with its ``[SEG]``.
        masks: (K, H, W) bool, one per ``[SEG]``; masks of earlier turns come first.
        mask_logits: (K, H, W) float32.
        seg_logits: (K,) float32, the logit with which the language model said each ``[SEG]``.
        question: The question as it was given.
        asked: The question as the model read it, without the image.
        earlier: The number of masks of earlier turns.
        image: (H, W, 3) uint8 RGB, the image.
        name: The image's file, or another name for it.
        mask_tokens: The tokens that become masks.
        cut: True if the answer was as long as allowed, and may go on.
    """

    text: str
    masks: np.ndarray
    mask_logits: np.ndarray
    seg_logits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    question: str = ''
    asked: str = ''
    earlier: int = 0
    image: np.ndarray | None = None
    name: str = ''
    mask_tokens: tuple[str, ...] = MASK_TOKENS
    cut: bool = False

    @property
    def turn(self) -> tuple[str, str]:
        """Question and answer, for the ``history`` of the next question."""
        return (self.asked or self.question, self.text)

    @property
    def pieces(self) -> list[tuple[str, int | None]]:
        """The text in pieces, each with the index of its mask in ``masks``; None for words.

        >>> Answer('A cup [SEG].', np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2))).pieces
        [('A cup ', None), ('[SEG]', 0), ('.', None)]
        """
        found: list[tuple[str, int | None]] = []
        number = self.earlier
        for piece in re.split('(' + '|'.join(map(re.escape, self.mask_tokens)) + ')', self.text):
            is_mask = piece in self.mask_tokens
            if piece:
                found.append((piece, number if is_mask else None))
            number += is_mask
        return found

    @property
    def hint(self) -> str:
        """What to try if this answer holds no ``[SEG]``; otherwise ''."""
        if any(number is not None for _, number in self.pieces):
            return ''
        return f'No {" or ".join(self.mask_tokens)} in the answer, so no mask. {NOTHING_TO_TRY}'

    @cached_property
    def scores(self) -> list[float]:
        """For each mask, the mean probability of its pixels (sigmoid of the logits); 0 for an empty mask."""
        return [
            float((1 / (1 + np.exp(-logits[mask].astype(np.float64)))).mean()) if mask.any() else 0.0
            for mask, logits in zip(self.masks, self.mask_logits, strict=True)
        ]

    @cached_property
    def boxes(self) -> list[list[int] | None]:
        """For each mask [x0, y0, x1, y1] in pixels, x1 and y1 outside; None for an empty mask."""
        return [box_of(mask) for mask in self.masks]

    @cached_property
    def polygons(self) -> list[list[Polygon] | None]:
        """For each mask polygons [[x, y], ...] through the centres of border pixels; outline and fill give the mask.

        None for a mask that polygons cannot hold, see :func:`lisa_mm.labelling.outlines.polygons_of_mask`.
        """
        return [polygons_of_mask(mask, corners=False) for mask in self.masks]

    @cached_property
    def rles(self) -> list[RLE]:
        """For each mask COCO's compressed run lengths, ``{'size': [H, W], 'counts': str}``."""
        return [encode_mask(mask) for mask in self.masks]

    @cached_property
    def colors(self) -> list[Color]:
        """For each mask a colour (RGB) that is seen on its place in the image.

        Raises:
            DataError: if the answer has no image.
        """
        return mask_colors(self._shown(), self.masks)

    def overlay(self, *, alpha: float = 0.45) -> np.ndarray:
        """The image with the masks filled and outlined, (H, W, 3) uint8.

        Args:
            alpha: Opacity of the fill.

        Raises:
            DataError: if the answer has no image.
        """
        return draw_answer(self._shown(), self.masks, self.colors, alpha=alpha)

    def page(self) -> np.ndarray:
        """The overlay above question and answer, each ``[SEG]`` in the colour of its mask, and a legend; (H', W', 3) uint8."""
        question = self.question or self.asked
        return draw_page(self._shown(), self.masks, self.colors, self.pieces, question, scores=self.scores)

    def _shown(self) -> np.ndarray:
        if self.image is None:
            raise DataError('this answer holds no image to draw on; set its image.')
        return self.image

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON: text and, for each of its masks, run lengths, box, scores and area in pixels."""
        height, width = self.masks.shape[1:]
        masks = [
            {
                'rle': self.rles[k],
                'box': self.boxes[k],
                'score': round(self.scores[k], 6),
                'seg_logit': round(float(self.seg_logits[k]), 6) if k < len(self.seg_logits) else None,
                'area': int(self.masks[k].sum()),
            }
            for k in range(self.earlier, len(self.masks))
        ]
        return {
            'image': self.name,
            'height': height,
            'width': width,
            'question': self.question,
            'asked': self.asked,
            'text': self.text,
            'cut': self.cut,
            'masks': masks,
        }


def box_of(mask: np.ndarray) -> list[int] | None:
    """[x0, y0, x1, y1] of a mask (H, W), x1 and y1 outside it; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
