"""FP-RefCOCO's metrics by hand and against a second computation."""

from __future__ import annotations

import string

import numpy as np
import pytest

from lisa_mm.errors import ConfigError
from lisa_mm.evaluation import FalsePremiseMetric

from .random_samples import Case, cases, judged_case

PHRASES = ('the red cup', "a boy's hat", 'dog')
SAYINGS = ('There is no such thing, but the red cup.', "I see a boy's hat: [SEG].", 'A Red cup! [SEG]', 'dogs', '')


def premises(rng: np.random.Generator, given: bool) -> list[Case]:
    """Sentences with one target each; false ones with an empty one and, most of them, a correction."""
    rows = []
    for number, case in enumerate(cases(rng, 80, most_targets=1, given=given)):
        is_false = bool(rng.random() < 0.5)
        if is_false:
            case.targets[case.targets == 1] = 0
        case.facts = {'kind': 'false' if is_false else 'true'}
        if is_false and rng.random() < 0.8:
            case.facts['gt_sent'] = PHRASES[rng.integers(3)]
        if not given:
            case.answer = SAYINGS[rng.integers(len(SAYINGS))].replace('[SEG]', '') + ' [SEG]' * len(case.predicted)
        rows.append(judged_case(case, f'{number}.jpg'))
    return rows


def second_opinion(rows: list[Case]) -> dict[str, float]:
    """Lists of words in place of a text; masks in place of counts."""
    right, common, both, named = [], 0, 0, []
    for case in rows:
        counted = case.targets[0] != 255
        mask = case.predicted[0] & counted if len(case.predicted) else np.zeros_like(counted)
        target = case.targets[0] == 1
        right.append(mask.any() == (case.facts['kind'] == 'true'))
        common, both = common + (mask & target).sum(), both + (mask | target).sum()
        if case.facts['kind'] == 'false' and 'gt_sent' in case.facts and case.answer is not None:
            drop = str.maketrans(dict.fromkeys(string.punctuation, ' '))
            said, phrase = (text.lower().translate(drop).split() for text in (case.answer, case.facts['gt_sent']))
            named.append(any(said[k : k + len(phrase)] == phrase for k in range(len(said))))
    found = {'See': float(np.mean(right)), 'cIoU': common / both, 'num_questions': len(rows)}
    return {**found, 'Say': float(np.mean(named))} if named else found


@pytest.mark.parametrize('given', [True, False])
def test_against_a_second_computation(given):
    rows = premises(np.random.default_rng(0), given)
    found = FalsePremiseMetric().score([case.judged for case in rows])
    assert found == pytest.approx(second_opinion(rows), abs=1e-12)
    assert given or 0 < found['Say'] < 1


def line(until: list[int], target: int, answer: str | None, **facts: str) -> Case:
    """Masks and a target on a line of 10 pixels."""
    row = np.arange(10)[None]
    predicted = np.array([row < end for end in until]) if until else np.zeros((0, 1, 10), bool)
    return judged_case(Case(predicted, (row < target).astype(np.uint8)[None], answer, dict(facts)))


def test_by_hand():
    rows = [
        line([4], 8, 'It is [SEG].', kind='true'),  # seen, 4 of 8
        line([0], 2, 'It is [SEG].', kind='true'),  # an empty mask says no: wrong, 0 of 2
        line([], 0, 'No, but the red cup is.', kind='false', gt_sent='red cup'),  # right, named
        line([3], 0, 'It is [SEG].', kind='false', gt_sent='red cup'),  # wrong, 0 of 3, not named
        line([2, 9], 4, '[SEG] [SEG]', kind='true'),  # the first mask counts: 2 of 4
    ]
    found = FalsePremiseMetric().score([row.judged for row in rows])
    assert found == pytest.approx({'See': 3 / 5, 'cIoU': 6 / 17, 'Say': 1 / 2, 'num_questions': 5})


def test_the_kind_decides_not_the_pixels():
    """A target that lost its pixels by drawing is there all the same; without a kind, the pixels say it."""
    assert FalsePremiseMetric().score([line([], 0, 'no', kind='true').judged])['See'] == 0
    assert FalsePremiseMetric().score([line([], 0, 'no').judged])['See'] == 1


def test_several_targets_are_an_error():
    case = judged_case(Case(np.ones((1, 2, 2), bool), np.ones((2, 2, 2), np.uint8), '[SEG]'))
    with pytest.raises(ConfigError, match=r"compares one mask with one target, but 'Where\?' of 0.jpg has 2 targets"):
        FalsePremiseMetric().score([case.judged])
