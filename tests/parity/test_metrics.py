"""gIoU and cIoU against the original's accumulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lisa_mm.evaluation.seg_iou import SegIoUMetric


@pytest.fixture(scope='module')
def items(golden):
    arrays = np.load(golden.root / 'metrics.npz')
    table = json.loads((golden.root / 'metrics.json').read_text())
    samples = [
        {'mask_logits': torch.from_numpy(arrays[f'pred_logits_{i}']), 'gt_masks': torch.from_numpy(arrays[f'gt_{i}'])}
        for i in range(table['num_images'])
    ]
    return table, samples


def score(samples):
    metric = SegIoUMetric()
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def doubled(sample):
    """An annotation that overlaps itself: the original counts a pixel of value 2 as a third class (see MANIFEST, traps)."""
    return bool(((sample['gt_masks'] > 1) & (sample['gt_masks'] != 255)).any())


def test_every_image(items, record_deviation):
    table, samples = items
    for entry, sample in zip(table['per_image'], samples, strict=True):
        if doubled(sample):
            continue  # compared with the clipped mask below
        got = score([sample])
        record_deviation('gIoU, cIoU', max(abs(got['gIoU'] - entry['giou_alone']), abs(got['cIoU'] - entry['ciou_alone'])))
        assert got['gIoU'] == pytest.approx(entry['giou_alone'], abs=1e-6)
        assert got['cIoU'] == pytest.approx(entry['ciou_alone'], abs=1e-6)


def test_overlap_is_clipped(items):
    for sample in filter(doubled, items[1]):
        clipped = {**sample, 'gt_masks': torch.where(sample['gt_masks'] == 255, 255.0, sample['gt_masks'].clamp(max=1))}
        assert score([sample]) == score([clipped])


@pytest.mark.parametrize('part', ['all', 'first_half'])
def test_whole_set(items, part, record_deviation):
    """Sums of the set; where a mask overlaps itself, its entry is exchanged for the clipped mask's."""
    table, samples = items
    count = len(samples) if part == 'all' else len(samples) // 2
    wanted = table if part == 'all' else table['first_half']
    entries = list(zip(table['per_image'], samples, strict=True))[:count]
    total = sum(e['num_masks'] for e, _ in entries)
    iou_sum = wanted['giou'] * (total + 1e-5)
    inter = sum(e['intersection_bg_fg'][1] for e, _ in entries)
    union = sum(e['union_bg_fg'][1] for e, _ in entries)
    assert wanted['ciou'] == pytest.approx(inter / (union + 1e-10), abs=1e-6)
    for entry, sample in entries:
        if doubled(sample):
            ours = score([sample])
            iou_sum += ours['gIoU'] * (entry['num_masks'] + 1e-5) - entry['giou_alone'] * (entry['num_masks'] + 1e-5)
            metric = SegIoUMetric()
            metric.process(None, [sample])
            inter += sum(i for image in metric.results for i, _ in image) - entry['intersection_bg_fg'][1]
            union += sum(u for image in metric.results for _, u in image) - entry['union_bg_fg'][1]
    got = score([s for _, s in entries])
    record_deviation('gIoU, cIoU', abs(got['gIoU'] - iou_sum / (total + 1e-5)))
    assert got['gIoU'] == pytest.approx(iou_sum / (total + 1e-5), abs=1e-6)
    assert got['cIoU'] == pytest.approx(inter / (union + 1e-10), abs=1e-6)
