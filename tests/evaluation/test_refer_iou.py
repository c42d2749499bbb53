"""refCOCO's metrics by hand, and against numpy and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryJaccardIndex

from lisa_mm.evaluation import ReferIoUMetric

from .random_samples import Case, cases, joined, judged_case


@pytest.mark.parametrize('given', [True, False])
def test_against_numpy(given):
    rows = cases(np.random.default_rng(0), 60, given=given)
    scores = ReferIoUMetric().score([case.judged for case in rows])
    ious, common, both = [], 0, 0
    for found, wanted in map(joined, rows):
        common, both = common + (found & wanted).sum(), both + (found | wanted).sum()
        ious.append((found & wanted).sum() / (found | wanted).sum() if (found | wanted).any() else 1)
    ious = np.array(ious)
    assert scores['mIoU'] == scores['gIoU'] == pytest.approx(ious.mean(), abs=1e-12)
    assert scores['cIoU'] == pytest.approx(common / both, abs=1e-12)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert scores[f'Pr@{threshold}'] == pytest.approx(np.mean(ious >= threshold), abs=1e-12)


def test_against_torchmetrics():
    """One target each; cIoU is the Jaccard index of all pixels of all questions together."""
    rows = [case for case in cases(np.random.default_rng(1), 60, most_targets=1, ignored=False) if (case.targets == 1).any()]
    flat = [(torch.from_numpy(found), torch.from_numpy(wanted).int()) for found, wanted in map(joined, rows)]
    scores = ReferIoUMetric().score([case.judged for case in rows])
    single = [float(BinaryJaccardIndex()(found.int(), wanted)) for found, wanted in flat]
    assert scores['mIoU'] == pytest.approx(np.mean(single), abs=1e-6)
    whole = BinaryJaccardIndex()(torch.cat([found for found, _ in flat]).int(), torch.cat([wanted for _, wanted in flat]))
    assert scores['cIoU'] == pytest.approx(float(whole), abs=1e-6)


def line_case(until: list[int], target: int, answer: str) -> Case:
    """Masks and one target on a line of 10 pixels: the first of them, up to a number."""
    row = np.arange(10)[None]
    predicted = np.array([row < end for end in until]) if until else np.zeros((0, 1, 10), bool)
    return judged_case(Case(predicted, (row < target).astype(np.uint8)[None], answer))


def test_by_hand():
    """IoU 4/8, exactly a threshold; 3/4 of two masks together; 0 without [SEG]: (0.5 + 0.75 + 0) / 3, and (4 + 3 + 0) / 17."""
    rows = [line_case([4], 8, '[SEG]'), line_case([2, 3], 4, '[SEG] [SEG]'), line_case([], 5, 'What?')]
    scores = ReferIoUMetric().score([row.judged for row in rows])
    assert scores['mIoU'] == pytest.approx(1.25 / 3)
    assert scores['cIoU'] == pytest.approx(7 / 17)
    assert [scores[f'Pr@{t}'] for t in (0.5, 0.6, 0.7, 0.8, 0.9)] == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0, 0])
    assert scores['num_questions'] == 3


def test_nothing_there_and_no_question():
    rows = [line_case([0], 0, '[SEG]'), line_case([], 0, 'none'), line_case([1], 0, '[SEG]')]
    scores = ReferIoUMetric().score([row.judged for row in rows])
    assert scores['mIoU'] == pytest.approx(2 / 3)
    assert scores['cIoU'] == 0
    assert ReferIoUMetric().score([]) == {'num_questions': 0}
