"""A question about an image, with all that decides its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.conversation import Turn
from ..models.decoding import AnswerOptions

ImageSource = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Request:
    """One question.

    Args:
        image: A file, an image of Pillow, or (H, W, 3) uint8 RGB.
        question: The question; the image goes before the first one.
        history: Earlier questions and answers about this image, such as :attr:`.answers.Answer.turn`.
        raw: Ask the question as it is. Otherwise a phrase or a sentence is put into the recipe's strings
            (:func:`lisa_mm.datasets.prompts.request_mask`).
        options: How it is answered.
    """

    image: ImageSource
    question: str
    history: Sequence[Turn] = ()
    raw: bool = False
    options: AnswerOptions = field(default_factory=AnswerOptions)
