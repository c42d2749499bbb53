"""R-RefCOCO's metrics by hand and against a loop over refs."""

from __future__ import annotations

import numpy as np
import pytest

from lisa_mm.evaluation import RobustReferMetric

from .random_samples import Case, boxes, cases, judged_case


def refs(rng: np.random.Generator, given: bool) -> list[list[Case]]:
    """60 refs, two an image: a target with up to 3 right and 3 wrong sentences, some without either kind."""
    found = []
    for number in range(60):
        target = boxes(rng, 1).astype(np.uint8)
        kinds = ['true'] * int(rng.integers(0, 4)) + ['false'] * int(rng.integers(0, 4))
        sentences = []
        for row, (kind, case) in enumerate(zip(kinds, cases(rng, len(kinds), given=given, most_targets=1), strict=True)):
            targets = target if kind == 'true' else np.zeros_like(target)
            facts = {'kind': kind, 'ref': number}
            new = Case(case.predicted, targets, case.answer, facts)
            sentences.append(judged_case(new, f'{number // 2}.jpg', row + 10 * (number % 2)))
        found.append(sentences)
    return found


@pytest.mark.parametrize('given', [True, False])
def test_against_a_loop_over_refs(given):
    rng = np.random.default_rng(0)
    groups = refs(rng, given)
    means, shares, robust, common, both = [], [], [], 0, 0
    for sentences in groups:
        ious, areas, i, u = [], [], 0, 0
        for case in sentences:
            found, wanted = case.predicted.any(0), case.targets[0] == 1
            if case.facts['kind'] == 'true':
                i, u = i + (found & wanted).sum(), u + (found | wanted).sum()
                ious.append((found & wanted).sum() / (found | wanted).sum() if (found | wanted).any() else 1)
            else:
                areas.append(found.sum())
        common, both = common + i, both + u
        means += [np.mean(ious)] if ious else []
        shares += [np.mean(np.array(areas) == 0)] if areas else []
        robust += [i / (u + sum(areas))] if u + sum(areas) else []
    shuffled = [case.judged for sentences in groups for case in sentences]
    rng.shuffle(shuffled)
    expected = {'mIoU': np.mean(means), 'cIoU': common / both, 'mRR': np.mean(shares), 'rIoU': np.mean(robust)}
    found = RobustReferMetric().score(shuffled)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert found['num_right'] + found['num_wrong'] == len(shuffled)


def line(until: list[int], target: int, **facts: object) -> Case:
    """Masks and a target on a line of 10 pixels."""
    row = np.arange(10)[None]
    predicted = np.array([row < end for end in until]) if until else np.zeros((0, 1, 10), bool)
    return judged_case(Case(predicted, (row < target).astype(np.uint8)[None], 'said', dict(facts)))


def test_by_hand():
    """Ref 1: IoU 4/8 and 8/8, wrong sentences with 4 and without pixels. Ref 2: IoU 0/2, no wrong sentence."""
    rows = [
        line([4], 8, kind='true', ref=1),
        line([0], 0, kind='false', ref=1),
        line([], 2, kind='true', ref=2),
        line([8], 8, kind='true', ref=1),
        line([4], 0, kind='false', ref=1),
    ]
    found = RobustReferMetric().score([row.judged for row in rows])
    # rIoU: 12 of 16 + 4, and 0 of 2
    expected = {'mIoU': (0.75 + 0) / 2, 'cIoU': 12 / 18, 'mRR': 1 / 2, 'rIoU': (12 / 20 + 0) / 2, 'num_right': 3, 'num_wrong': 2}
    assert found == pytest.approx(expected)


def test_intervals_are_over_images():
    """All refs of one image are drawn together, so the interval of a single image is a point."""
    rows = [line([4], 8, kind='true', ref=1).judged, line([8], 8, kind='true', ref=2).judged]
    assert RobustReferMetric().intervals(rows)['mIoU'] == (0.75, 0.75)
    assert RobustReferMetric().by_image(rows, 'mIoU') == ([1.5], [2])
    assert RobustReferMetric().by_image(rows, 'mRR') == ([0], [0])


def test_without_facts_every_sentence_is_its_own_ref():
    """An empty target is a wrong sentence."""
    found = RobustReferMetric().score([line([4], 8).judged, line([3], 0).judged])
    assert found['mRR'] == 0
    assert found['mIoU'] == 0.5
