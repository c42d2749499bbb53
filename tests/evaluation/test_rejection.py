"""N-acc and T-acc by hand."""

from __future__ import annotations

import pytest
import torch

from lisa_mm.errors import ConfigError
from lisa_mm.evaluation import RejectionMetric
from lisa_mm.structures import SegDataSample

ASKED = [('the cup', '[SEG].')]
EMPTY, FULL, IGNORED = torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([[0, 255], [255, 0]])


def sample(rows: list[tuple[torch.Tensor, str]]) -> dict:
    """An image with a target and an answer for each row."""
    targets = torch.stack([target for target, _ in rows]).to(torch.uint8)
    return {'conversations': [ASKED] * len(rows), 'answers': [answer for _, answer in rows], 'gt_masks': targets}


def scores(*samples: object, **options) -> dict[str, float]:
    metric = RejectionMetric(**options)
    metric.process(None, samples)
    assert len(metric.results) == len(samples)  # mmengine cuts the entries to the number of images
    return metric.compute_metrics(metric.results)


def test_by_hand():
    """Of three empty targets two are rejected, of four others three have a mask."""
    first = sample([(EMPTY, 'It is [REJ].'), (EMPTY, 'It is [SEG].'), (FULL, 'It is [SEG].')])
    second = sample([(IGNORED, 'No cup.'), (FULL, '[REJ].'), (FULL, '[SEG].'), (FULL, '[SEG] and [SEG].')])
    assert scores(first, second) == {'N-acc': 2 / 3, 'T-acc': 3 / 4, 'num_empty': 3.0, 'num_targets': 4.0}


def test_a_rejection_beside_a_mask_says_nothing():
    assert scores(sample([(EMPTY, '[REJ] [SEG]'), (FULL, '[REJ] [SEG]')])) == {
        **{'N-acc': 1.0, 'T-acc': 0.0},
        **{'num_empty': 1.0, 'num_targets': 1.0},
    }


def test_a_score_over_no_question_is_left_out():
    assert scores(sample([(FULL, '[SEG].')])) == {'T-acc': 1.0, 'num_empty': 0.0, 'num_targets': 1.0}
    assert scores() == {'num_empty': 0.0, 'num_targets': 0.0}


def test_the_target_of_the_last_answer_counts():
    """Rows of text alone have no target; masks of earlier answers belong to nobody's last question."""
    turns = [[('what is it', 'A ball.')], [('the cup', 'It is [SEG].'), ('and the ball', 'It is [SEG].')]]
    data = SegDataSample(metainfo={'conversations': turns})
    data.set_data({'answers': ['A ball.', '[REJ].'], 'gt_masks': torch.stack([FULL, EMPTY])})
    assert scores(data) == {'N-acc': 1.0, 'num_empty': 1.0, 'num_targets': 0.0}


def test_other_tokens():
    parts = {'conversations': [[('the handle', 'It is [PART].')]], 'answers': ['[PART].'], 'gt_masks': FULL[None]}
    assert scores(parts, mask_tokens=['[SEG]', '[PART]'])['T-acc'] == 1.0
    assert scores(sample([(EMPTY, '[NO].')]), rejection='[NO]')['N-acc'] == 1.0


def test_given_answers_say_nothing_about_the_model():
    with pytest.raises(ConfigError, match="Evaluate with answers='generated'"):
        scores({'conversations': [ASKED], 'gt_masks': FULL[None]})
