"""gIoU and cIoU of LISA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..registry import METRICS
from ..tokens import IGNORED


@METRICS.register_module()
class SegIoUMetric(BaseMetric):
    """gIoU: mean IoU over masks; cIoU: summed intersections over summed unions (Lai et al., CVPR 2024).

    Per mask, IoU = I / (U + 1e-5), and 1 where both are empty; gIoU = sum / (masks + 1e-5); cIoU = sum I / (sum U + 1e-10).
    Pixels with 255 are left out; annotations that overlap themselves (values above 1) are clipped to 1. Counted in int64.

    Args:
        collect_device: 'cpu' or 'gpu', where ranks meet.
        prefix: Of the names in the log.
    """

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Data samples (or their dicts) with ``mask_logits`` (K, H, W) and ``gt_masks`` (K, H, W)."""
        del data_batch  # the samples hold all
        for sample in data_samples:
            fields = sample if isinstance(sample, dict) else dict(sample.all_items())
            # one entry an image: mmengine cuts the entries of all ranks to the number of images, which drops padded duplicates
            self.results.append(intersection_and_union(fields['mask_logits'] > 0, fields['gt_masks']))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Also ``num_masks``, so that an empty set shows."""
        pairs = [pair for image in results for pair in image]
        return {**summarise(pairs), 'num_masks': float(len(pairs))}


def intersection_and_union(predicted: Tensor, target: Tensor) -> list[tuple[int, int]]:
    """Foreground pixels of each mask.

    Args:
        predicted: (K, H, W) bool.
        target: (K, H, W); 255 is left out.

    Raises:
        ValueError: if the shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(f'predicted masks are {tuple(predicted.shape)} but gt_masks {tuple(target.shape)}')
    valid = target != IGNORED
    wanted = (target > 0) & valid
    predicted = predicted & valid
    intersections = (predicted & wanted).flatten(1).sum(1)
    unions = (predicted | wanted).flatten(1).sum(1)
    return list(zip(intersections.tolist(), unions.tolist(), strict=True))


def iou(intersection: int, union: int) -> float:
    """IoU of one mask; 1 where both are empty."""
    return 1.0 if union == 0 else intersection / (union + 1e-5)


def summarise(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """gIoU and cIoU of (intersection, union) pairs."""
    pixels = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).sum(0).tolist()
    return {
        'gIoU': sum(iou(i, u) for i, u in pairs) / (len(pairs) + 1e-5),
        'cIoU': pixels[0] / (pixels[1] + 1e-10),
    }
