"""One answered question as a label: an image file, a question, and masks as run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.prompts import is_sentence
from ..datasets.run_lengths import RLE, decode_rle, encode_mask
from ..errors import DataError
from ..visualization import short_question


@dataclass(frozen=True)
class LabelItem:
    """A question about an image with its answer; make it by :func:`label_item` or :func:`item_of_answer`.

    Args:
        image: The file.
        height, width: Size of the image in pixels.
        question: The question as the user gave it.
        text: The answer.
        rles: One mask per mask token, as compressed run lengths.
        scores: One per mask; empty if unknown.
        is_sentence: Whether the question is a sentence, or a phrase that names a thing.
    """

    image: Path
    height: int
    width: int
    question: str
    text: str
    rles: tuple[RLE, ...]
    scores: tuple[float, ...]
    is_sentence: bool

    @property
    def label(self) -> str:
        """What the masks are called: the question on one line, without the recipe's request for a mask."""
        return short_question(self.question)

    @property
    def masks(self) -> Iterator[np.ndarray]:
        """Each mask as (H, W) bool, decoded one by one."""
        for rle in self.rles:
            yield decode_rle(rle) == 1

    def score(self, number: int) -> dict[str, float]:
        """``{'score': ...}`` of a mask, or nothing if it is unknown."""
        return {'score': round(self.scores[number], 6)} if self.scores else {}


def label_item(
    image: str | Path,
    size: tuple[int, int],
    question: str,
    text: str,
    masks: Sequence[np.ndarray | Mapping[str, Any]] | np.ndarray,
    *,
    scores: Sequence[float] = (),
    phrase: bool | None = None,
) -> LabelItem:
    """A checked label.

    Args:
        image: The image file.
        size: (height, width) of the image in pixels.
        question: The question as the user gave it.
        text: The answer.
        masks: Each (H, W) with true inside, or run lengths ``{'size': [H, W], 'counts': str}``.
        scores: One per mask, or none.
        phrase: Whether the question is a phrase; by default its words decide (:func:`lisa_mm.datasets.prompts.is_sentence`).

    Raises:
        DataError: if the question is empty, or masks, scores and image do not fit together.
    """
    if not str(image) or str(image) == '.':
        raise DataError(f'the answer to {question!r} names no image file, which a label needs. Ask about a file.')
    if not question.strip():
        raise DataError(f'{image}: the question is empty; it is the name of the label. Give it.', file=image)
    if len(scores) not in (0, len(masks)):
        raise DataError(f'{image}: {len(masks)} masks but {len(scores)} scores. Give each mask one, or none at all.', file=image)
    # half of a surrogate pair, which a json may hold, cannot be written
    question, text = (words.encode('utf-8', 'replace').decode() for words in (question, text))
    rles = tuple(_run_lengths(mask, size, image) for mask in masks)
    sentence = is_sentence(question) if phrase is None else not phrase
    return LabelItem(Path(image), *size, question, text, rles, tuple(map(float, scores)), sentence)


def item_of_answer(answer: Mapping[str, Any], *, folder: str | Path = '', phrase: bool | None = None) -> LabelItem:
    """The label of an answer as :meth:`lisa_mm.apis.answers.Answer.to_dict` gives it, such as a line of the answers' jsonl.

    Args:
        answer: The answer.
        folder: The folder that its image's path begins at.
        phrase: See :func:`label_item`.
    """
    masks, name = answer['masks'], answer['image']
    return label_item(
        Path(folder) / name if name else '',
        (answer['height'], answer['width']),
        answer['question'],
        answer['text'],
        [mask['rle'] for mask in masks],
        scores=[mask['score'] for mask in masks],
        phrase=phrase,
    )


def _run_lengths(mask: np.ndarray | Mapping[str, Any], size: tuple[int, int], image: str | Path) -> RLE:
    shape = tuple(mask['size']) if isinstance(mask, Mapping) else mask.shape
    if shape != tuple(size):
        raise DataError(
            f'{image}: a mask is {shape}, the image {tuple(size)} (height, width). Give masks of its size.', file=image
        )
    try:
        values = decode_rle({'size': list(mask['size']), 'counts': mask['counts']}) if isinstance(mask, Mapping) else mask
    except ValueError as error:
        raise DataError(f'{image}: {error}. Answer the question again.', file=image) from error
    return encode_mask(np.asarray(values) != 0)
