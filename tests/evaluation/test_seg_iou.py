"""gIoU and cIoU by hand, and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.classification import BinaryJaccardIndex

from lisa_mm.evaluation.seg_iou import SegIoUMetric, intersection_and_union, summarise


def test_by_hand():
    predicted = torch.tensor([[[1, 1, 0, 0]]]).bool()
    target = torch.tensor([[[1, 0, 1, 255]]])
    assert intersection_and_union(predicted, target) == [(1, 3)]
    scores = summarise([(1, 3), (0, 0)])  # the second mask is empty and predicted empty
    assert scores['gIoU'] == pytest.approx((1 / 3 + 1) / 2, abs=1e-5)
    assert scores['cIoU'] == pytest.approx(1 / 3, abs=1e-5)


def test_no_masks_and_wrong_shapes():
    assert intersection_and_union(torch.zeros(0, 2, 2).bool(), torch.zeros(0, 2, 2)) == []
    assert summarise([]) == {'gIoU': 0.0, 'cIoU': 0.0}
    with pytest.raises(ValueError, match='predicted masks are'):
        intersection_and_union(torch.zeros(1, 2, 2).bool(), torch.zeros(2, 2, 2))


def test_against_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 16, 16, generator=generator)
    target = (torch.rand(5, 16, 16, generator=generator) > 0.5).to(torch.uint8)
    metric = SegIoUMetric()
    metric.process(None, [{'mask_logits': logits, 'gt_masks': target}])
    oracle = [float(BinaryJaccardIndex()(p > 0, t)) for p, t in zip(logits, target, strict=True)]
    assert metric.compute_metrics(metric.results)['gIoU'] == pytest.approx(sum(oracle) / 5, abs=1e-5)
