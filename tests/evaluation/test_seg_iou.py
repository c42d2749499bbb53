"""gIoU and cIoU by hand, and against torchmetrics."""

from __future__ import annotations

import json
import socket

import pytest
import torch
from mmengine.dataset import DefaultSampler
from torchmetrics.classification import BinaryJaccardIndex

from lisa_mm.evaluation.bootstrap import interval_of_ratio
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


def sample(masks):
    """One image whose masks are all right (IoU 1) or all wrong (0)."""
    target = torch.ones(len(masks), 1, 2, dtype=torch.uint8)
    logits = torch.tensor(masks, dtype=torch.float32).reshape(-1, 1, 1).expand(-1, 1, 2) - 0.5
    return {'mask_logits': logits, 'gt_masks': target}


IMAGES = [[1, 1, 0], [1], [0, 0, 0, 0, 1]]  # 9 masks, 4 right: gIoU 4 / 9


def test_several_masks_an_image_are_all_counted():
    metric = SegIoUMetric()
    metric.process(None, [sample(masks) for masks in IMAGES])
    scores = metric.evaluate(size=len(IMAGES))
    assert scores['num_masks'] == 9
    assert scores['gIoU'] == pytest.approx(4 / 9, abs=1e-5)


def test_the_interval_is_over_images():
    metric = SegIoUMetric(bootstrap=500)
    metric.process(None, [sample(masks) for masks in IMAGES])
    scores = metric.compute_metrics(metric.results)
    low, high = interval_of_ratio([2, 1, 1], [3, 1, 5], 500)
    assert (scores['gIoU_low'], scores['gIoU_high']) == pytest.approx((low, high), abs=1e-5)
    assert low < 4 / 9 < high


def test_pixels_are_summed_as_whole_numbers():
    """Other than the original: 2^24 + 1 has no float32, and a sum of them would lose every odd pixel."""
    odd = 2**24 + 1
    scores = summarise([(odd, odd + 1)] * 1000)
    assert scores['cIoU'] == pytest.approx(1 - 1 / (odd + 1), abs=1e-12)


def validate_a_share(rank, port, folder):
    """A process of two: the sampler gives both two of the three images, so one image comes twice."""
    torch.distributed.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    metric = SegIoUMetric()
    for index in DefaultSampler(IMAGES, shuffle=False):
        metric.process(None, [sample(IMAGES[index])])
    scores = metric.evaluate(size=len(IMAGES))
    if rank == 0:
        (folder / 'scores.json').write_text(json.dumps(scores))
    torch.distributed.destroy_process_group()


def test_padded_duplicates_of_two_processes_count_once(tmp_path):
    """Other than the original: three images on two processes."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(validate_a_share, (port, tmp_path), nprocs=2)
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert scores['num_masks'] == 9
    assert scores['gIoU'] == pytest.approx(4 / 9, abs=1e-5)
