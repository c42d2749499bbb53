"""What a file of predictions holds, before it is known which question each answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.masks import EncodedMask
from ..judged import Pair

COCO, PNGS, SEG_ZERO, OWN = 'COCO results', 'PNG masks', 'Seg-Zero output', 'rows.jsonl'


@dataclass(frozen=True)
class Key:
    """Names a question.

    Args:
        name: A name of its sample or image, see :class:`.questions.Questions`.
        row: Number of its conversation among those about what is named; None where there is one.
        turn: Number of the question in its conversation; None where one of them has a target.
    """

    name: str
    row: int | None = None
    turn: int | None = None


@dataclass(frozen=True)
class Prediction:
    """One entry, or one file.

    Args:
        where: Its place, for errors.
        keys: What it may name; one of them must name a question.
        masks: Its masks; a path is a PNG of 0 and 255 (or 1).
        text: What the model said before its masks.
        answer: The whole answer, with a ``[SEG]`` for each mask; None where it is not in the file.
        counts: Intersection and union, where the file has no mask.
    """

    where: str
    keys: tuple[Key, ...]
    masks: tuple[EncodedMask | Path, ...] = ()
    text: str = ''
    answer: str | None = None
    counts: Pair | None = None


@dataclass(frozen=True)
class Predictions:
    """All predictions of a file or folder.

    Args:
        path: The file or folder.
        kind: One of :data:`COCO`, :data:`PNGS`, :data:`SEG_ZERO`, :data:`OWN`.
        entries: In the order of the file.
        notes: What was found in the files and is not read -> how often.
    """

    path: Path
    kind: str
    entries: list[Prediction] = field(repr=False)
    notes: Counter[str] = field(default_factory=Counter)
