"""A question with its targets and what the model answered, in counts of pixels: what every benchmark's metric reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ..datasets.run_lengths import encode_mask
from ..tokens import IGNORED

Pair = tuple[int, int]  # (intersection, union)


@dataclass(frozen=True)
class Judged:
    """One question. All counts are pixels at the image's original size; ignored pixels (255) are left out.

    A question about nothing has one target of area 0 or none at all.

    Args:
        sample_id: The image's name in its data set.
        img_path: Its file.
        row: Number of the conversation among those about the image.
        turn: Number of the question in its conversation.
        question: The question, without the image's placeholder.
        answer: What the model said; None where the answer with its ``[SEG]`` was in the prompt.
        facts: What the benchmark knows of the question, see :class:`lisa_mm.datasets.base.Asked`.
        size: Height and width of the image.
        targets: (T,) area of each target.
        predicted: (P,) area of each predicted mask, without the pixels that no target counts, see :func:`joined_regions`.
        intersections: (P, T).
        unions: (P, T).
        joined: Intersection and union of all predicted masks together with all targets together.
        masks: The predicted masks as COCO run lengths; None unless they were asked for.
        target_masks: The targets likewise, ignored pixels as background.
    """

    sample_id: str
    img_path: str | None
    row: int
    turn: int
    question: str
    answer: str | None
    facts: dict[str, Any]
    size: tuple[int, int]
    targets: list[int]
    predicted: list[int]
    intersections: list[list[int]]
    unions: list[list[int]]
    joined: Pair
    masks: list[dict[str, Any]] | None = field(default=None, repr=False)
    target_masks: list[dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[str, int, int]:
        """Names the question in its data set."""
        return self.sample_id, self.row, self.turn

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there that the question asks for."""
        return not any(self.targets)

    @property
    def pairs(self) -> list[Pair]:
        """(intersection, union) as LISA's gIoU and cIoU count them.

        One for each target where the answer was given: its k-th ``[SEG]`` is the k-th target. One for the whole question where
        the model said the answer: its masks are united, and none is an empty mask.
        """
        if self.answer is not None:
            return [self.joined]
        return [(self.intersections[k][k], self.unions[k][k]) for k in range(len(self.targets))]

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Judged:
        """The question that :meth:`to_json` wrote."""
        pairs = {name: tuple(values[name]) for name in ('size', 'joined')}
        return cls(**{**values, **pairs})


@dataclass(frozen=True)
class Question:
    """A question of a data sample, with its masks.

    Args:
        row, turn, text, answer, facts: As in :class:`Judged`.
        predicted: (P, H, W) bool.
        targets: (T, H, W); 255 is ignored.
    """

    row: int
    turn: int
    text: str
    answer: str | None
    facts: dict[str, Any]
    predicted: Tensor
    targets: Tensor


def questions_of(sample: Mapping[str, Any]) -> Iterator[Question]:
    """The questions of a data sample's fields that have targets; all its masks as one question if it has no conversations.

    Args:
        sample: ``gt_masks`` (K, H, W), ``masks`` (K, H, W) bool or ``mask_logits``, and the other fields of
            :class:`lisa_mm.structures.SegDataSample`.

    Raises:
        ValueError: if the masks are not as many as the conversations ask for, or of another size.
    """
    predicted, targets = predicted_masks(sample), sample['gt_masks']
    counts: Sequence[Sequence[int]] | None = sample.get('mask_counts')
    if counts is None:
        check_shapes(predicted, targets)
        yield Question(0, 0, '', None, {}, predicted, targets)
        return
    said: Sequence[int] | None = sample.get('masks_said')
    answers: Sequence[str] | None = sample.get('answers')
    wanted = sum(map(sum, counts))
    expected = wanted if said is None else wanted - sum(row[-1] for row in counts) + sum(said)
    check_shapes(predicted, targets, (expected, wanted))
    facts = sample.get('facts') or [{}] * len(counts)
    at = of = 0
    for row, (turns, own) in enumerate(zip(sample['conversations'], counts, strict=True)):
        for turn, count in enumerate(own):
            is_said = said is not None and turn == len(own) - 1
            new = said[row] if is_said and said is not None else count
            if count:
                answer = answers[row] if is_said and answers is not None else None
                text = turns[turn][0].replace('<image>', '').strip()
                yield Question(row, turn, text, answer, facts[row], predicted[at : at + new], targets[of : of + count])
            at, of = at + new, of + count


def predicted_masks(sample: Mapping[str, Any]) -> Tensor:
    """(K, H, W) bool."""
    masks = sample.get('masks')
    return sample['mask_logits'] > 0 if masks is None else masks


def check_shapes(predicted: Tensor, targets: Tensor, counts: tuple[int, int] | None = None) -> None:
    """Raise a ValueError unless masks have one size and the expected numbers (of predicted masks and of targets)."""
    expected = counts or (len(targets), len(targets))
    if (len(predicted), len(targets)) != expected or predicted.shape[1:] != targets.shape[1:]:
        raise ValueError(
            f'predicted masks are {tuple(predicted.shape)} but gt_masks {tuple(targets.shape)}; {expected[0]} and {expected[1]} '
            'masks of one size were expected'
        )


def judge(sample: Mapping[str, Any], *, keep_masks: bool = False) -> list[Judged]:
    """Count the pixels of every question of a data sample.

    Args:
        sample: Its fields, see :func:`questions_of`.
        keep_masks: Whether to keep the masks as run lengths.
    """
    known: dict[str, Any] = {'sample_id': sample.get('sample_id', ''), 'img_path': sample.get('img_path')}
    found = []
    for one in questions_of(sample):
        counted: dict[str, Any] = count(one.predicted, one.targets)
        if keep_masks:
            wanted = (one.targets > 0) & (one.targets != IGNORED)
            counted |= {'masks': as_run_lengths(one.predicted), 'target_masks': as_run_lengths(wanted)}
        asked: dict[str, Any] = {'row': one.row, 'turn': one.turn, 'question': one.text, 'answer': one.answer, 'facts': one.facts}
        size = (one.targets.shape[1], one.targets.shape[2])
        found.append(Judged(**known, **asked, size=size, **counted))
    return found


def as_run_lengths(masks: Tensor) -> list[dict[str, Any]]:
    """(K, H, W) bool -> COCO run lengths, as JSON values."""
    return [dict(encode_mask(mask)) for mask in masks.to(torch.uint8).cpu().numpy()]


def count(predicted: Tensor, targets: Tensor) -> dict[str, Any]:
    """The counts of :class:`Judged` for predicted masks (P, H, W) bool and targets (T, H, W), which may hold 255."""
    targets = targets.to(predicted.device)
    by_target, areas = [], []
    for target in targets:
        wanted, valid = regions(target)
        kept = predicted & valid
        by_target.append((pixels(kept & wanted), pixels(kept)))
        areas.append(int(wanted.sum()))
    intersections = [[int(common[p]) for common, _ in by_target] for p in range(len(predicted))]
    unions = [
        [int(own[p] + area - common[p]) for (common, own), area in zip(by_target, areas, strict=True)]
        for p in range(len(predicted))
    ]
    if len(predicted) == len(targets) == 1:
        kept, joined = by_target[0][1], (intersections[0][0], unions[0][0])
    else:
        wanted, valid = joined_regions(targets)
        valid_parts = predicted & valid
        kept, joined = pixels(valid_parts), joined_pair(valid_parts, wanted)
    return {
        'targets': areas,
        'predicted': kept,
        'intersections': intersections,
        'unions': unions,
        'joined': joined,
    }


def regions(target: Tensor) -> tuple[Tensor, Tensor]:
    """Of (H, W): whether a pixel is the target's, and whether it counts at all."""
    valid = target != IGNORED
    return (target > 0) & valid, valid


def joined_regions(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of (T, H, W): whether a pixel is any target's, and whether it counts at all.

    A pixel that one target ignores and another one covers is a target's.
    """
    wanted = torch.zeros(targets.shape[1:], dtype=torch.bool, device=targets.device)
    ignored = wanted.clone()
    for target in targets:
        own, valid = regions(target)
        wanted |= own
        ignored |= ~valid
    return wanted, wanted | ~ignored


def joined_pair(predicted: Tensor, wanted: Tensor) -> Pair:
    """Intersection and union of all predicted masks (P, H, W) together with a region (H, W)."""
    found = torch.zeros_like(wanted)
    for mask in predicted:
        found |= mask
    return int((found & wanted).sum()), int((found | wanted).sum())


def pixels(masks: Tensor) -> list[int]:
    """(K, H, W) bool -> the area of each."""
    return masks.flatten(1).sum(1).tolist() if len(masks) else []
