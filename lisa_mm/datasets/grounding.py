"""Captions whose phrases are marked for masks: ``<p> a man </p> [SEG]`` (GLaMM)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..tokens import SEG_TOKEN
from .masks import EncodedMask, joined

PHRASE_START, PHRASE_END = '<p>', '</p>'


@dataclass(frozen=True)
class Grounded:
    """A phrase of a caption with its mask.

    Args:
        start: Where the phrase begins in the caption, in characters.
        end: Where it ends.
        mask: Its encoded mask.
    """

    start: int
    end: int
    mask: EncodedMask


@dataclass(frozen=True)
class MarkedCaption:
    """A caption with marked phrases.

    Args:
        answer: The caption with ``<p> phrase </p> [SEG]`` for each phrase.
        phrases: The phrases, in the order of the answer.
        masks: Encoded masks, one for each ``[SEG]`` of the answer.
        united: Number of phrases that are united with another one of the same place.
        overlapping: Number of phrases that are left out because they overlap another one.
    """

    answer: str
    phrases: list[str]
    masks: list[EncodedMask]
    united: int = 0
    overlapping: int = 0


def marked(phrase: str) -> str:
    """A phrase as an answer has it.

    >>> marked('a man')
    '<p> a man </p> [SEG]'
    """
    return f'{PHRASE_START} {phrase} {PHRASE_END} {SEG_TOKEN}'


def mark_caption(caption: str, found: Sequence[Grounded]) -> MarkedCaption:
    """Mark the phrases of a caption, in the order in which they begin.

    Phrases of the same place are one target, the union of their masks. Of phrases that overlap otherwise, the first to begin
    is marked (of two that begin together, the longer one), and the others are left out: marks inside marks are no text that a
    model could learn, and half a phrase would not name its object.

    Args:
        caption: The caption.
        found: Its phrases, inside the caption and with at least one character that is not blank.

    >>> man, shirt = Grounded(0, 14, {'union': []}), Grounded(9, 14, {'union': []})
    >>> result = mark_caption('man in a shirt stands', [shirt, man])
    >>> result.answer, result.overlapping
    ('<p> man in a shirt </p> [SEG] stands', 1)
    """
    places: dict[tuple[int, int], list[EncodedMask]] = {}
    for one in found:
        places.setdefault(without_blanks(caption, one.start, one.end), []).append(one.mask)
    answer, at, united, overlapping = '', 0, 0, 0
    phrases: list[str] = []
    masks: list[EncodedMask] = []
    for (start, end), own in sorted(places.items(), key=lambda item: (item[0][0], -item[0][1])):
        if start < at:
            overlapping += len(own)
            continue
        united += len(own) - 1
        phrases.append(caption[start:end])
        masks.append(joined(own))
        answer += caption[at:start] + marked(phrases[-1])
        at = end
    return MarkedCaption(answer + caption[at:], phrases, masks, united, overlapping)


def mark_labels(caption: str, labels: Sequence[str], masks: Sequence[EncodedMask]) -> MarkedCaption:
    """Mark labels of masks where they first stand in a caption, and behind it if they stand nowhere or overlap another one.

    Args:
        caption: The caption.
        labels: One for each mask; without labels, the answer ends with a bare ``[SEG]`` for each mask.
        masks: Encoded masks.

    >>> result = mark_labels('A dog and a cat.', ['cat', 'a tree', 'dog'], [{'union': []}] * 3)
    >>> result.answer, result.phrases
    ('A <p> dog </p> [SEG] and a <p> cat </p> [SEG]. <p> a tree </p> [SEG]', ['dog', 'cat', 'a tree'])
    """
    if not labels:
        return MarkedCaption(' '.join([caption, *[SEG_TOKEN] * len(masks)]), [], list(masks))
    placed: list[tuple[Grounded, str]] = []
    behind: list[tuple[str, EncodedMask]] = []
    for label, mask in zip(labels, masks, strict=True):
        place = place_of(label, caption, [(one.start, one.end) for one, _ in placed])
        if place is None:
            behind.append((label.strip(), mask))
        else:
            placed.append((Grounded(*place, mask), label.strip()))
    placed.sort(key=lambda item: item[0].start)
    inside = mark_caption(caption, [one for one, _ in placed])
    answer = ' '.join([inside.answer, *(marked(label) for label, _ in behind)])
    phrases = [label for _, label in placed] + [label for label, _ in behind]
    return MarkedCaption(answer, phrases, inside.masks + [mask for _, mask in behind])


def without_blanks(caption: str, start: int, end: int) -> tuple[int, int]:
    """A place without the blanks at its ends.

    >>> without_blanks('a man ', 1, 6)
    (2, 5)
    """
    text = caption[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def place_of(phrase: str, caption: str, taken: Sequence[tuple[int, int]] = ()) -> tuple[int, int] | None:
    """The first place of a phrase in a caption, as whole words and in any capitals, that overlaps none of ``taken``.

    >>> place_of('man', 'A woman and a Man'), place_of('man', 'a woman')
    ((14, 17), None)
    """
    for match in re.finditer(rf'(?<!\w){re.escape(phrase.strip())}(?!\w)', caption, re.IGNORECASE):
        if all(match.end() <= start or match.start() >= end for start, end in taken):
            return match.span()
    return None
