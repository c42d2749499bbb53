"""Random data samples for the tests of metrics, with every odd case, and the masks they were made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lisa_mm.evaluation.judged import Judged, judge

SHAPE = (9, 12)
ANSWERS = {0: ['No such thing.', 'It is [REJ].'], 1: ['It is [SEG].', '[REJ] or [SEG].']}


@dataclass
class Case:
    """A question with its masks.

    Args:
        predicted: (P, H, W) bool.
        targets: (T, H, W) uint8; 255 is ignored.
        answer: None where it was given.
        facts: Of the benchmark.
        judged: What the code under test makes of it.
    """

    predicted: np.ndarray
    targets: np.ndarray
    answer: str | None
    facts: dict[str, Any] = field(default_factory=dict)
    judged: Any = None  # a Judged


def boxes(rng: np.random.Generator, count: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(count, H, W) bool: overlapping boxes, one of five empty."""
    found = np.zeros((count, *shape), bool)
    for mask in found:
        if rng.random() < 0.8:
            top, left = rng.integers(0, shape[0] - 1), rng.integers(0, shape[1] - 1)
            mask[top : top + rng.integers(1, 8), left : left + rng.integers(1, 8)] = True
    return found


def targets_of(rng: np.random.Generator, count: int, ignored: bool) -> np.ndarray:
    """(count, H, W) uint8 with ignored pixels or without."""
    found = boxes(rng, count).astype(np.uint8)
    if ignored:
        found[rng.random(found.shape) < 0.1] = 255
    return found


def near(rng: np.random.Generator, targets: np.ndarray, count: int) -> np.ndarray:
    """(count, H, W) bool: masks like the targets, moved a little, in another order; some like none of them."""
    found = boxes(rng, count)
    for k in rng.permutation(count)[: len(targets)]:
        if rng.random() < 0.7:
            found[k] = np.roll(targets[rng.integers(len(targets))] == 1, rng.integers(-1, 2), axis=int(rng.integers(2)))
    return found


def cases(
    rng: np.random.Generator,
    count: int,
    *,
    most_targets: int = 4,
    most_masks: int = 5,
    given: bool = False,
    ignored: bool = True,
) -> list[Case]:
    """Questions about ``count / 2`` images, two each: none to many targets, none to many masks, with and without ``[SEG]``."""
    found = []
    for number in range(count):
        targets = targets_of(rng, int(rng.integers(1, most_targets + 1)), ignored)
        predicted = near(rng, targets, len(targets) if given else int(rng.integers(0, most_masks + 1)))
        said = ANSWERS[min(len(predicted), 1)][int(rng.integers(2))]
        answer = None if given else said.replace('[SEG]', ' '.join(['[SEG]'] * len(predicted)))
        found.append(judged_case(Case(predicted, targets, answer), f'{number // 2}.jpg', number % 2))
    return found


def judged_case(case: Case, image: str = '0.jpg', row: int = 0) -> Case:
    """The case with what :func:`lisa_mm.evaluation.judged.judge` makes of it."""
    sample: dict[str, Any] = {
        'sample_id': image,
        'img_path': f'/data/{image}',
        'masks': torch.from_numpy(case.predicted),
        'gt_masks': torch.from_numpy(case.targets),
        'conversations': [[('<image>\n Where?', ' '.join(['[SEG]'] * len(case.targets)))]],
        'mask_counts': [[len(case.targets)]],
        'facts': [case.facts],
    }
    if case.answer is not None:
        sample |= {'answers': [case.answer], 'masks_said': [len(case.predicted)]}
    (judged,) = judge(sample, keep_masks=True)
    case.judged = Judged.from_json({**judged.to_json(), 'row': row})
    return case


def joined(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """All predicted masks and all targets as one, (N,) bool each, without ignored pixels."""
    wanted: np.ndarray = np.any(case.targets == 1, axis=0)
    counted = wanted | np.all(case.targets != 255, axis=0)
    return np.asarray(case.predicted.any(0))[counted], wanted[counted]
