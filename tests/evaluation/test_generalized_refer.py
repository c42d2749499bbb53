"""gRefCOCO's metrics by hand and against a second computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lisa_mm.evaluation import GeneralizedReferMetric
from lisa_mm.structures import SegDataSample

from .random_samples import Case, cases, joined

EMPTY, FULL, IGNORED = torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([[0, 255], [255, 0]])


def second_opinion(rows: list[Case], min_pixels: int, rejection: str = '[REJ]') -> dict[str, float]:
    """The sums of ReLA's evaluation, written from masks and answers."""
    table = {'TP': 0, 'FN': 0, 'FP': 0, 'TN': 0}
    ious, common, both = [], 0, 0
    for case in rows:
        found, wanted = joined(case)
        left_out = (case.targets == 255).any(0) & ~(case.targets == 1).any(0)
        area = sum((mask & ~left_out).sum() for mask in case.predicted)
        if case.answer is None:
            nothing = area == 0 or area < min_pixels
        else:
            nothing = rejection in case.answer or '[SEG]' not in case.answer or area < min_pixels
        if not wanted.any():
            table['TP' if nothing else 'FN'] += 1
            ious.append(1.0 if nothing else 0.0)
            both += 0 if nothing else found.sum()
        else:
            table['FP' if nothing else 'TN'] += 1
            overlap = 0 if nothing else (found & wanted).sum()
            ious.append(overlap / (found | wanted).sum())
            common, both = common + overlap, both + (found | wanted).sum()
    return {
        'N-acc': table['TP'] / (table['TP'] + table['FN']),
        'T-acc': table['TN'] / (table['TN'] + table['FP']),
        'gIoU': float(np.mean(ious)),
        'cIoU': common / both,
        'num_empty': table['TP'] + table['FN'],
        'num_targets': table['TN'] + table['FP'],
    }


@pytest.mark.parametrize(('given', 'min_pixels'), [(True, 0), (False, 0), (False, 12), (True, 12)])
def test_against_a_second_computation(given, min_pixels):
    rows = cases(np.random.default_rng(0), 80, given=given, most_targets=3)
    assert any('[REJ]' in (case.answer or '') and len(case.predicted) for case in rows) != given  # the odd cases are there
    metric = GeneralizedReferMetric(min_pixels=min_pixels)
    assert metric.score([case.judged for case in rows]) == pytest.approx(second_opinion(rows, min_pixels), abs=1e-12)


def sample(rows: list[tuple[torch.Tensor, str | None, list[torch.Tensor]]]) -> dict[str, Any]:
    """An image with a target, an answer and masks for each row."""
    masks = [mask > 0 for _, _, own in rows for mask in own]
    said = {} if rows[0][1] is None else {'answers': [row[1] for row in rows], 'masks_said': [len(row[2]) for row in rows]}
    return {
        'sample_id': 'a',
        'conversations': [[('the cup', '[SEG].')]] * len(rows),
        'mask_counts': [[1]] * len(rows),
        'gt_masks': torch.stack([row[0] for row in rows]).to(torch.uint8),
        'masks': torch.stack(masks) if masks else torch.zeros(0, 2, 2).bool(),
        **said,
    }


def scores(*samples: object, **options: Any) -> dict[str, float]:
    metric = GeneralizedReferMetric(**options)
    metric.process(None, samples)
    assert len(metric.results) == len(samples)  # mmengine cuts the entries to the number of images
    return metric.compute_metrics(metric.results)


def test_by_hand():
    """Of three empty targets two are rejected, of four others three have a mask."""
    half = torch.tensor([[1, 1], [0, 0]])
    first = sample([(EMPTY, 'It is [REJ].', []), (EMPTY, 'It is [SEG].', [half]), (FULL, 'It is [SEG].', [half])])
    second = sample(
        [(IGNORED, 'No cup.', []), (FULL, '[REJ].', []), (FULL, '[SEG].', [EMPTY]), (FULL, '[SEG] and [SEG].', [half, FULL])]
    )
    # IoU: 1, 0, 2/4, 1, 0, 0, 4/4; intersections 2 + 4; unions 0 + 2 + 4 + 0 + 4 + 4 + 4
    assert scores(first, second) == pytest.approx(
        {'N-acc': 2 / 3, 'T-acc': 3 / 4, 'gIoU': 3.5 / 7, 'cIoU': 6 / 18, 'num_empty': 3, 'num_targets': 4}
    )


def test_a_rejection_beside_a_mask_says_nothing():
    """The mask's pixels are right where it is rejected, which makes them no intersection."""
    found = scores(sample([(EMPTY, '[REJ] [SEG]', [FULL]), (FULL, '[REJ] [SEG]', [FULL])]))
    assert found == {'N-acc': 1.0, 'T-acc': 0.0, 'gIoU': 0.5, 'cIoU': 0.0, 'num_empty': 1.0, 'num_targets': 1.0}


def test_an_empty_mask_with_words_is_no_rejection():
    """GSVA: the word decides. ReLA's paper: the pixels do."""
    row = sample([(EMPTY, '[SEG]', [EMPTY])])
    assert scores(row)['N-acc'] == scores(row)['gIoU'] == 0
    assert scores(row, min_pixels=1)['N-acc'] == scores(row, min_pixels=1)['gIoU'] == 1


def test_given_answers_are_judged_by_their_masks():
    found = scores(sample([(EMPTY, None, [EMPTY]), (EMPTY, None, [FULL]), (FULL, None, [EMPTY]), (FULL, None, [FULL])]))
    assert found == {'N-acc': 0.5, 'T-acc': 0.5, 'gIoU': 0.5, 'cIoU': 4 / 12, 'num_empty': 2.0, 'num_targets': 2.0}
    assert scores(sample([(FULL, None, [FULL])]), min_pixels=5)['T-acc'] == 0
    assert scores(sample([(FULL, None, [FULL])]), min_pixels=4)['T-acc'] == 1


def test_a_score_over_no_question_is_left_out():
    found = scores(sample([(FULL, '[SEG].', [FULL])]))
    assert found == {'T-acc': 1.0, 'gIoU': 1.0, 'cIoU': 1.0, 'num_empty': 0.0, 'num_targets': 1.0}
    assert scores() == {'num_empty': 0.0, 'num_targets': 0.0}


def test_the_target_of_the_last_answer_counts():
    """Rows of text alone have no target; masks of earlier answers, which were given, say nothing about the model."""
    turns = [[('what is it', 'A ball.')], [('the cup', 'It is [SEG].'), ('and the ball', 'It is [SEG].')]]
    data = SegDataSample(metainfo={'conversations': turns, 'mask_counts': [[0], [1, 1]], 'sample_id': 'a', 'img_path': 'a.png'})
    data.set_data({'answers': ['A ball.', '[REJ].'], 'masks_said': [0, 0], 'masks': FULL[None] > 0})
    data.set_data({'gt_masks': torch.stack([FULL, EMPTY])})
    assert scores(data) == {'N-acc': 1.0, 'gIoU': 1.0, 'num_empty': 1.0, 'num_targets': 0.0}


def test_another_token():
    assert scores(sample([(EMPTY, '[NO] [SEG].', [FULL])]), rejection='[NO]')['N-acc'] == 1.0
