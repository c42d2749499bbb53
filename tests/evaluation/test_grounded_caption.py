"""GCG's metrics by hand and against GLaMM's way of computing them, written anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lisa_mm.errors import ConfigError
from lisa_mm.evaluation import GroundedCaptionMetric, captions
from lisa_mm.evaluation.grounded_caption import phrases_of
from lisa_mm.evaluation.judged import Judged

from .random_samples import Case, cases, judged_case
from .test_average_precision import plain_precision

WORDS = ('red cup', 'the cup', 'dog', 'small dog', 'grass')


@pytest.fixture(autouse=True)
def _no_java(monkeypatch):
    """The Java programs take long to start; their own test runs them."""
    monkeypatch.setattr(captions, 'missing_for_captions', lambda: 'not here')


def grounded(rng: np.random.Generator, given: bool) -> list[Case]:
    """60 captions, one an image, with phrases for masks and targets."""
    rows = []
    for number, case in enumerate(cases(rng, 60, given=given, ignored=False)):
        phrases = [WORDS[rng.integers(5)] for _ in case.targets]
        said = [WORDS[rng.integers(5)] for _ in case.predicted]
        case.facts = {'phrases': phrases, 'caption': ' and '.join(phrases), 'said': phrases if given else said}
        if not given:
            case.answer = 'I see ' + ' and '.join(f'<p> {phrase} </p> [SEG]' for phrase in said)
        rows.append(judged_case(case, f'{number}.jpg'))
    return rows


def f1(first: str, second: str) -> float:
    one, other = ({*text.split()} - {'the'} for text in (first, second))  # no phrase has a word twice
    return 2 * len(one & other) / (len(one) + len(other))


def plain_scores(case: Case) -> tuple[float, int]:
    """The mean IoU of pairs, and the number of found targets, by deleting rows and columns from a table."""
    kept = [t for t, target in enumerate(case.targets) if target.any()]
    targets, phrases = case.targets[kept] > 0, [case.facts['phrases'][t] for t in kept]
    table = np.array([[(m & t).sum() / (m | t).sum() for m in case.predicted] for t in targets])
    table = table.reshape(len(targets), len(case.predicted))
    pairs, left = [], table.copy()
    while left.size and left.max() > 0:
        mask, target = np.unravel_index(left.T.argmax(), left.T.shape)
        pairs.append(left[target, mask])
        left = np.delete(np.delete(left, target, 0), mask, 1)
    found, left = 0, table.copy()
    while left.size:
        target, mask = np.unravel_index(left.argmax(), left.shape)
        if left[target, mask] < 0.5 or f1(phrases[target], case.facts['said'][mask]) < 0.5:
            break
        found += 1
        left[target], left[:, mask] = 0, 0
    return float(np.mean(pairs)) if pairs else 0.0, found


@pytest.mark.parametrize('given', [True, False])
def test_against_a_second_computation(given):
    rows = grounded(np.random.default_rng(0), given)
    found = GroundedCaptionMetric().score([case.judged for case in rows])
    means, hits = zip(*map(plain_scores, rows), strict=True)
    targets = sum(bool(target.any()) for case in rows for target in case.targets)
    assert found['mIoU'] == pytest.approx(np.mean(means), abs=1e-12)
    assert found['recall_token_f1'] == pytest.approx(sum(hits) / targets, abs=1e-12)
    assert 0.05 < found['recall_token_f1'] < 0.9
    assert found['AP50'] == pytest.approx(plain_precision(rows), abs=1e-9)
    assert found['num_targets'] == targets


def line(masks: list[tuple[int, int]], targets: list[tuple[int, int]], answer: str | None, **facts: Any) -> Judged:
    """Masks and targets on a line of 10 pixels, from and to."""
    row = np.arange(10)[None]
    planes = [np.array([(row >= a) & (row < b) for a, b in own] or np.zeros((0, 1, 10))).astype(bool) for own in (masks, targets)]
    return judged_case(Case(planes[0], planes[1].astype(np.uint8), answer, facts)).judged


def test_by_hand():
    """IoUs 4/4 with the right phrase and 2/4 with the right one; a wrong phrase; no [SEG]."""
    rows = [
        line([(0, 4), (6, 8)], [(0, 4), (6, 10)], '<p> a dog </p> [SEG] on <p> grass </p> [SEG].', phrases=['dog', 'grass']),
        line([(0, 4)], [(0, 5)], '<p> cat </p> [SEG]', phrases=['dog']),
        line([], [(0, 5)], 'A dog.', phrases=['dog']),
    ]
    found = GroundedCaptionMetric().score(rows)
    assert found['mIoU'] == pytest.approx((0.75 + 0.8 + 0) / 3)
    assert found['recall_token_f1'] == 2 / 4
    assert found['AP50'] == pytest.approx(76 / 101)  # three hits of four targets: precision 1 up to recall 0.75
    counts = {'num_questions': 3, 'num_targets': 4, 'num_masks': 3, 'num_unnamed': 0}
    assert {name: found[name] for name in counts} == counts


def test_the_first_pair_below_ends_the_image():
    """As in GLaMM's program: the best pair has the wrong phrase, so that the second one, which is right, is not looked at."""
    answer = '<p> cat </p> [SEG] on <p> grass </p> [SEG].'
    row = line([(0, 4), (5, 8)], [(0, 4), (5, 9)], answer, phrases=['dog', 'grass'])
    assert GroundedCaptionMetric().terms(row)['recall_token_f1'] == (0, 2)


def test_targets_without_phrases_or_pixels():
    without = line([(0, 4)], [(0, 4)], '<p> dog </p> [SEG]', phrases=[])
    found = GroundedCaptionMetric().score([without])
    assert 'recall_token_f1' not in found
    assert (found['mIoU'], found['AP50'], found['num_unnamed']) == pytest.approx((1, 1, 1))
    # the first target has no pixel: it is none, and the phrases stay with their masks
    given = line([(0, 2), (5, 8)], [(0, 0), (5, 8)], None, phrases=['cat', 'dog'])
    assert GroundedCaptionMetric().terms(given) == {'mIoU': (1.0, 1), 'recall_token_f1': (1, 1)}


@pytest.mark.parametrize(
    ('answer', 'phrases'),
    [
        ('<p> A dog </p> [SEG] on <p>grass</p>[SEG].', ['A dog', 'grass']),
        ('[SEG] <p> a dog </p> runs [SEG] and [SEG]', ['', 'a dog', 'a dog']),  # none before it; one for two masks
        ('<p> a cat </p> <p> a dog </p> [SEG]', ['a dog']),
        ('<p> a \n cat </p> [SEG] <p> [SEG]', ['a \n cat', 'a \n cat']),
        ('nothing', []),
    ],
)
def test_phrases_of_masks(answer, phrases):
    assert phrases_of(line([(0, 1)] * answer.count('[SEG]'), [(0, 4)], answer)) == phrases


def test_other_tokens():
    row = line([(0, 4)], [(0, 4)], '<p> dog </p> [PART]', phrases=['dog'])
    assert GroundedCaptionMetric(mask_tokens=['[SEG]', '[PART]']).terms(row)['recall_token_f1'] == (1, 1)
    with pytest.raises(ConfigError, match=r'asks for 0 masks by \[SEG\], but has 1. Give GroundedCaptionMetric the mask_tokens'):
        GroundedCaptionMetric().terms(row)


def test_captions_of_the_models_own(monkeypatch):
    """Without tags and tokens, against one reference or several; given answers are left out."""
    asked: list[Any] = []
    monkeypatch.setattr('lisa_mm.evaluation.grounded_caption.caption_scores', lambda *args: asked.append(args) or {'CIDEr': 2.0})
    rows = [
        line([(0, 4)], [(0, 4)], 'Here: <p> a dog </p> [SEG].', phrases=['dog'], caption='a dog'),
        line([], [(0, 4)], 'Grass', caption=['grass', 'green grass']),
        line([], [(0, 4)], 'no reference'),
    ]
    assert GroundedCaptionMetric().score(rows)['CIDEr'] == 2
    assert asked == [(['Here: a dog .', 'Grass'], [['a dog'], ['grass', 'green grass']])]


def test_masks_must_be_kept():
    row = line([(0, 4)], [(0, 4)], '[SEG]')
    with pytest.raises(ConfigError, match='needs the masks of all questions'):
        GroundedCaptionMetric().score([Judged.from_json({**row.to_json(), 'masks': None})])
