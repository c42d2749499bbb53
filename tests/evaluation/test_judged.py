"""Counts of pixels against plain numpy, and which masks belong to which question."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from lisa_mm.evaluation.judged import Judged, count, judge

from .random_samples import Case, cases, judged_case


@pytest.mark.parametrize('given', [True, False])
def test_counts_equal_numpys(given):
    for case in cases(np.random.default_rng(0), 60, given=given):
        judged = case.judged
        valid = case.targets != 255
        assert judged.targets == [int((target == 1).sum()) for target in case.targets]
        for p, mask in enumerate(case.predicted):
            for t, target in enumerate(case.targets):
                own, wanted = mask[valid[t]], target[valid[t]] == 1
                assert judged.intersections[p][t] == np.logical_and(own, wanted).sum()
                assert judged.unions[p][t] == np.logical_or(own, wanted).sum()
        left_out = (case.targets == 255).any(0) & ~(case.targets == 1).any(0)
        assert judged.predicted == [int(mask.sum() - mask[left_out].sum()) for mask in case.predicted]
        found, wanted = case.predicted.any(0) & ~left_out, (case.targets == 1).any(0)
        assert judged.joined == (int((found & wanted).sum()), int((found | wanted).sum()))
        assert judged.is_empty == (not (case.targets == 1).any())


def test_counts_by_hand():
    """A pixel that is ignored by the target is in no count: 2 of 4 pixels are right, 1 is the target's alone."""
    found = count(torch.tensor([[[1, 1, 0, 1]]]).bool(), torch.tensor([[[1, 1, 1, 255]]]))
    expected = {'targets': [3], 'predicted': [2], 'intersections': [[2]], 'unions': [[3]], 'joined': (2, 3)}
    assert found == expected
    # of two targets, the pixel that one ignores and the other one covers is a target's
    two = count(torch.tensor([[[0, 0, 1, 1]]]).bool(), torch.tensor([[[1, 255, 255, 0]], [[0, 0, 1, 0]]]))
    assert two['predicted'] == [2]  # of the third and the fourth pixel
    assert two['joined'] == (1, 3)  # targets: first and third; mask: third and fourth
    assert two['intersections'] == [[0, 1]]
    assert two['unions'] == [[2, 2]]  # the first target ignores the third pixel


def test_no_masks_and_no_targets():
    nothing = count(torch.zeros(0, 2, 2).bool(), torch.zeros(0, 2, 2))
    assert nothing == {'targets': [], 'predicted': [], 'intersections': [], 'unions': [], 'joined': (0, 0)}
    alone = count(torch.ones(1, 2, 2).bool(), torch.zeros(0, 2, 2))
    assert alone == {'targets': [], 'predicted': [4], 'intersections': [[]], 'unions': [[]], 'joined': (0, 4)}


def test_pairs_of_both_protocols():
    """Given: the k-th mask and the k-th target. Said: all together."""
    targets = np.array([[[1, 1, 0]], [[0, 0, 1]]], np.uint8)
    predicted = np.array([[[1, 0, 0]], [[0, 1, 1]]], bool)
    assert judged_case(Case(predicted, targets, None)).judged.pairs == [(1, 2), (1, 2)]
    assert judged_case(Case(predicted, targets, '[SEG] and [SEG]')).judged.pairs == [(3, 3)]
    assert judged_case(Case(predicted[:0], targets, 'none')).judged.pairs == [(0, 3)]


def test_it_comes_back_from_json():
    for case in cases(np.random.default_rng(1), 50):
        assert Judged.from_json(json.loads(json.dumps(case.judged.to_json()))) == case.judged


def test_masks_are_kept_as_run_lengths():
    (case,) = cases(np.random.default_rng(2), 1)
    assert case.judged.masks is not None and case.judged.target_masks is not None
    assert (np.stack([coco_mask.decode(m) for m in case.judged.target_masks]) == (case.targets == 1)).all()
    assert [coco_mask.decode(m).sum() for m in case.judged.masks] == case.predicted.sum((1, 2)).tolist()
    assert judge({'gt_masks': torch.zeros(0, 2, 2), 'masks': torch.zeros(0, 2, 2).bool()})[0].masks is None


def planes(*values: int) -> torch.Tensor:
    """(K, 1, 8) masks, the k-th with ``values[k]`` pixels."""
    return torch.stack([torch.arange(8)[None] < value for value in values]) if values else torch.zeros(0, 1, 8).bool()


def test_each_question_gets_its_masks():
    """Three rows: two turns; text alone, where the model says a mask all the same; one turn with fewer masks than targets."""
    sample = {
        'sample_id': 'a',
        'conversations': [
            [('<image>\n the cup', '[SEG] [SEG]'), ('and the ball', None)],
            [('<image>\n what is it', None)],
            [('<image>\n all plates', None)],
        ],
        'mask_counts': [[2, 1], [0], [3]],
        'masks_said': [2, 1, 0],
        'answers': ['[SEG] [SEG]', 'A [SEG].', 'none'],
        'facts': [{'kind': 'x'}, {}, {'kind': 'y'}],
        'masks': planes(1, 2, 3, 4, 8),  # two of the first turn, two said in the second, one of the text
        'gt_masks': planes(1, 2, 3, 5, 6, 7).to(torch.uint8),
    }
    first, second, third = judge(sample)
    assert [one.key for one in (first, second, third)] == [('a', 0, 0), ('a', 0, 1), ('a', 2, 0)]
    assert [one.question for one in (first, second, third)] == ['the cup', 'and the ball', 'all plates']
    assert [one.answer for one in (first, second, third)] == [None, '[SEG] [SEG]', 'none']
    assert [one.facts.get('kind') for one in (first, second, third)] == ['x', 'x', 'y']
    assert [one.predicted for one in (first, second, third)] == [[1, 2], [3, 4], []]
    assert [one.targets for one in (first, second, third)] == [[1, 2], [3], [5, 6, 7]]


def test_a_sample_without_conversations_is_one_question():
    (judged,) = judge({'masks': planes(1, 2), 'gt_masks': planes(1, 4).to(torch.uint8)})
    assert (judged.answer, judged.question, judged.pairs) == (None, '', [(1, 1), (2, 4)])
    (logits,) = judge({'mask_logits': planes(3).float() - 0.5, 'gt_masks': planes(3)})
    assert logits.pairs == [(3, 3)]


def test_masks_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match=r'predicted masks are \(1, 1, 8\) but gt_masks \(2, 1, 8\); 2 and 2 masks'):
        judge({'masks': planes(1), 'gt_masks': planes(1, 2)})
    rows = {'conversations': [[('q', None)]], 'mask_counts': [[1]], 'masks_said': [2], 'answers': ['[SEG] [SEG]']}
    with pytest.raises(ValueError, match='2 and 1 masks of one size were expected'):
        judge({**rows, 'masks': planes(1), 'gt_masks': planes(1)})
    with pytest.raises(ValueError, match='of one size'):
        judge({'masks': torch.zeros(1, 2, 8).bool(), 'gt_masks': planes(1)})
