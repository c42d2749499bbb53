"""Matchings against all permutations, and against a greedy choice that deletes rows and columns."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from lisa_mm.evaluation.matching import assign, greedy, ious

from .random_samples import Case, cases, judged_case


def table(case: Case) -> np.ndarray:
    """(P, T) IoU by plain numpy; 1 where both are empty."""
    found = np.zeros((len(case.predicted), len(case.targets)))
    for p, mask in enumerate(case.predicted):
        for t, target in enumerate(case.targets):
            counted = target != 255
            union = ((mask | (target == 1)) & counted).sum()
            found[p, t] = (mask & (target == 1)).sum() / union if union else 1
    return found


def test_the_assignment_has_the_greatest_sum():
    for case in cases(np.random.default_rng(0), 80):
        values = table(case)
        assert np.allclose(ious(case.judged), values)
        small, large = sorted(values.shape)
        tall = values if values.shape[0] == large else values.T  # (large, small)
        best = max(sum(tall[row, k] for k, row in enumerate(rows)) for rows in permutations(range(large), small))
        found = assign(case.judged)
        assert np.isclose(sum(match.iou for match in found), best)
        assert len(found) == large  # each pair, and each mask or target that is left over
        check_all_once(case, found)


def test_the_greedy_choice():
    for case in cases(np.random.default_rng(1), 80):
        values, taken = table(case), []
        rows, columns = list(range(values.shape[0])), list(range(values.shape[1]))
        while values.size and values.max() > 0.1:
            p, t = np.unravel_index(values.argmax(), values.shape)
            taken.append((rows.pop(p), columns.pop(t), values[p, t]))
            values = np.delete(np.delete(values, p, 0), t, 1)
        found = greedy(case.judged, at_least=0.1)
        pairs = [(m.predicted, m.target, m.iou) for m in found if m.predicted is not None and m.target is not None]
        assert np.allclose(sorted(pairs), sorted(taken))
        check_all_once(case, found)


def check_all_once(case, found):
    """Every mask and every target once; one that is left over has its own area as union and IoU 0."""
    assert sorted(m.predicted for m in found if m.predicted is not None) == list(range(len(case.predicted)))
    assert sorted(m.target for m in found if m.target is not None) == list(range(len(case.targets)))
    for match in found:
        if match.predicted is None:
            assert (match.intersection, match.union, match.iou) == (0, (case.targets[match.target] == 1).sum(), 0)
        if match.target is None:
            assert (match.intersection, match.union, match.iou) == (0, case.judged.predicted[match.predicted], 0)


def test_greedy_is_not_always_the_best():
    """The first mask has IoU 8/12 and 7/13, the second 5/10 and 0: greedy takes 8/12 alone, the assignment 7/13 and 5/10."""
    line = np.arange(16)[None]
    targets = np.stack([line < 10, (line >= 5) & (line < 15)]).astype(np.uint8)
    predicted = np.stack([(line >= 2) & (line < 12), line < 5])
    judged = judged_case(Case(predicted, targets, '[SEG] [SEG]')).judged
    assert [(m.predicted, m.target, m.intersection, m.union) for m in assign(judged)] == [(1, 0, 5, 10), (0, 1, 7, 13)]
    assert [(m.predicted, m.target, m.intersection, m.union) for m in greedy(judged)] == [
        (0, 0, 8, 12),
        (None, 1, 0, 10),
        (1, None, 0, 5),
    ]


def test_nothing_to_match():
    none = judged_case(Case(np.zeros((0, 2, 2), bool), np.ones((2, 2, 2), np.uint8), 'none')).judged
    assert [(m.predicted, m.target, m.union) for m in assign(none)] == [(None, 0, 4), (None, 1, 4)]
    assert greedy(none) == assign(none)
