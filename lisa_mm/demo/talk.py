"""A visitor's conversation with one model, as the model and the page need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .layers import MaskLayer


@dataclass(frozen=True)
class Exchange:
    """A question with its answer, which may still grow.

    Args:
        question: As the visitor wrote it.
        pieces: The answer in pieces, as :attr:`lisa_mm.apis.answers.Answer.pieces`.
        asked: As the model read it; '' while it answers.
        text: The whole answer.
        note: What the visitor should know: no mask, an answer cut short.
    """

    question: str
    pieces: tuple[tuple[str, int | None], ...] = ()
    asked: str = ''
    text: str = ''
    note: str = ''

    def to_dict(self) -> dict[str, Any]:
        """As JSON for the page."""
        rewritten = self.asked if self.asked.strip() != self.question.strip() else ''
        return {'question': self.question, 'pieces': self.pieces, 'asked': rewritten, 'note': self.note}


@dataclass(frozen=True)
class Talk:
    """A conversation about one image.

    Args:
        exchanges: Questions and answers.
        name: The image's name.
        image: (H, W, 3) uint8 RGB.
        picture: The image for the browser, a data address.
        logits: (K, H, W) float32, the masks of all answers.
        seg_logits: (K,) float32, see :class:`lisa_mm.apis.answers.Answer`.
        layers: The K masks for the browser.
        error: Why the last question has no answer.
        is_busy: Whether an answer is being made.
    """

    exchanges: tuple[Exchange, ...] = ()
    name: str = ''
    image: np.ndarray | None = None
    picture: str = ''
    logits: np.ndarray | None = None
    seg_logits: np.ndarray | None = None
    layers: tuple[MaskLayer, ...] = ()
    error: str = ''
    is_busy: bool = False

    @property
    def history(self) -> list[tuple[str, str]]:
        """The questions as they were asked, with their answers, for the next question."""
        return [(exchange.asked, exchange.text) for exchange in self.exchanges]

    @property
    def nbytes(self) -> int:
        """Size of the image, the masks and their logits."""
        arrays = sum(array.nbytes for array in (self.image, self.logits, self.seg_logits) if array is not None)
        return arrays + len(self.picture) + sum(len(layer.map) for layer in self.layers)

    def to_dict(self, model: str, download: str = '', serial: int = 0) -> dict[str, Any]:
        """As JSON for the page.

        Args:
            model: The model's name.
            download: Address of the masks.
            serial: The page leaves out what comes with a smaller number than it has seen: words of a stopped answer.
        """
        return {
            'model': model,
            'serial': serial,
            'exchanges': [exchange.to_dict() for exchange in self.exchanges],
            'picture': self.picture,
            'layers': [layer.to_dict() for layer in self.layers],
            'error': self.error,
            'busy': self.is_busy,
            'download': download if self.layers and not self.is_busy else '',
        }


@dataclass
class Visit:
    """A visitor's conversations.

    Args:
        talks: One per model.
        is_over: Whether another one has taken its place, so that an answer under way is no longer wanted.
    """

    talks: Sequence[Talk]
    is_over: bool = False

    @property
    def nbytes(self) -> int:
        """Size of all of them."""
        return sum(talk.nbytes for talk in self.talks)
