"""MUSE's metrics by hand and against all permutations of padded masks."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lisa_mm.evaluation import MultiTargetMetric

from .random_samples import Case, cases, judged_case


def best_pairs(case: Case) -> tuple[float, set[tuple[int, int]]]:
    """The greatest sum of IoUs over all matchings of lists padded by None, and (intersections, unions) of all that reach it."""
    size = max(len(case.predicted), len(case.targets))
    masks = [*case.predicted, *[None] * (size - len(case.predicted))]
    targets = [*case.targets, *[None] * (size - len(case.targets))]
    best, sums = -1.0, set()
    for order in permutations(range(size)):
        total, common, both = 0.0, 0, 0
        for mask, target in ((masks[p], targets[t]) for t, p in enumerate(order)):
            if mask is None or target is None:
                both += int((target == 1).sum() if mask is None else mask.sum())
                continue
            overlap, union = int((mask & (target == 1)).sum()), int((mask | (target == 1)).sum())
            total += overlap / union if union else 1
            common, both = common + overlap, both + union
        if total > best + 1e-9:
            best, sums = total, set()
        if total > best - 1e-9:
            sums.add((common, both))
    return best, sums


@pytest.mark.parametrize('given', [True, False])
def test_against_all_permutations(given):
    rows = cases(np.random.default_rng(0), 60, given=given, ignored=False)
    metric = MultiTargetMetric()
    total, pairs = 0.0, 0
    for case in rows:
        best, sums = best_pairs(case)
        assert metric.terms(case.judged)['cIoU'] in sums
        total, pairs = total + best, pairs + max(len(case.predicted), len(case.targets))
    found = metric.score([case.judged for case in rows])
    assert found['gIoU'] == pytest.approx(total / pairs, abs=1e-12)
    common, both = np.sum([metric.terms(case.judged)['cIoU'] for case in rows], axis=0)
    assert found['cIoU'] == pytest.approx(common / both, abs=1e-12)
    assert found['num_masks'] == sum(len(case.predicted) for case in rows)
    assert found['num_targets'] == sum(len(case.targets) for case in rows)


def line(masks: list[tuple[int, int]], targets: list[tuple[int, int]], answer: str) -> Case:
    """Masks and targets on a line of 10 pixels, from and to."""
    row = np.arange(10)[None]
    planes = [np.array([(row >= a) & (row < b) for a, b in own] or np.zeros((0, 1, 10))).astype(bool) for own in (masks, targets)]
    return judged_case(Case(planes[0], planes[1].astype(np.uint8), answer))


def test_by_hand():
    rows = [
        line([(5, 9), (0, 4)], [(0, 4), (5, 10)], '[SEG] [SEG]'),  # other way round: 4/4 and 4/5
        line([(0, 2)], [(0, 4), (6, 9)], '[SEG]'),  # 2/4, and 3 pixels without a mask
        line([(0, 3), (6, 8)], [(0, 3)], '[SEG] [SEG]'),  # 3/3, and a surplus mask of 2 pixels
        line([], [(0, 5)], 'none'),  # 5 pixels
    ]
    found = MultiTargetMetric().score([row.judged for row in rows])
    # pairs: 1 + 0.8; 0.5 + 0; 1 + 0; 0. Intersections 8 + 2 + 3; unions 9 + 7 + 5 + 5
    assert found == pytest.approx({'gIoU': 3.3 / 7, 'cIoU': 13 / 26, 'num_questions': 4, 'num_targets': 6, 'num_masks': 5})


def test_empty_ones():
    """An empty mask for an empty target is right; a surplus mask or target counts 0, empty or not."""
    assert MultiTargetMetric().score([line([(0, 0)], [(0, 0)], '[SEG]').judged])['gIoU'] == 1
    assert MultiTargetMetric().score([line([(0, 0), (0, 0)], [(0, 0)], '[SEG]').judged])['gIoU'] == 0.5
    assert 'cIoU' not in MultiTargetMetric().score([line([], [(0, 0)], 'none').judged])
