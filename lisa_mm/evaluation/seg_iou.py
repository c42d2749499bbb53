"""LISA's metrics gIoU and cIoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..registry import METRICS
from ..tokens import IGNORED

Pairs = list[tuple[int, int]]  # (intersection, union) of masks


@METRICS.register_module()
class SegIoUMetric(BaseMetric):
    """gIoU: mean IoU over masks; cIoU: summed intersections over summed unions (Lai et al., CVPR 2024).

    Per mask, IoU = I / (U + 1e-5), and 1 where both are empty; gIoU = sum / (masks + 1e-5); cIoU = sum I / (sum U + 1e-10).
    Pixels with 255 are left out; overlapping annotations (values above 1) are clipped to 1. Counts are int64.

    After an evaluation ``pairs`` holds (intersection, union) of every mask, image by image in the order of the data set, on the
    first process.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
        bootstrap: Rounds of a bootstrap over masks; above 0, its 95 % interval is logged as ``gIoU_low`` and ``gIoU_high``.
    """

    default_prefix = ''  # the names as they are, without mmengine's warning that there is none

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, *, bootstrap: int = 0):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.bootstrap = bootstrap
        self.pairs: list[Pairs] = []

    def process(self, data_batch: object, data_samples: Sequence[Any]) -> None:
        """Count pixels of data samples (or their dicts) with ``mask_logits`` (K, H, W) and ``gt_masks`` (K, H, W)."""
        del data_batch  # the samples hold everything
        for sample in data_samples:
            fields = sample if isinstance(sample, dict) else dict(sample.all_items())
            # one entry per image: mmengine cuts the entries of all ranks to the number of images, dropping padded duplicates
            self.results.append(intersection_and_union(fields['mask_logits'] > 0, fields['gt_masks']))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """gIoU and cIoU, and ``num_masks``, which reveals an empty set."""
        self.pairs = results
        pairs = [pair for image in results for pair in image]
        found = {**summarise(pairs), 'num_masks': float(len(pairs))}
        if self.bootstrap:
            found['gIoU_low'], found['gIoU_high'] = interval([iou(*pair) for pair in pairs], self.bootstrap)
        return found


def intersection_and_union(predicted: Tensor, target: Tensor) -> list[tuple[int, int]]:
    """Foreground pixels of each mask: (intersection, union).

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
    """IoU of one mask; 1 if both masks are empty."""
    return 1.0 if union == 0 else intersection / (union + 1e-5)


def summarise(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """gIoU and cIoU of (intersection, union) pairs."""
    pixels = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).sum(0).tolist()
    return {
        'gIoU': sum(iou(i, u) for i, u in pairs) / (len(pairs) + 1e-5),
        'cIoU': pixels[0] / (pixels[1] + 1e-10),
    }


def interval(values: Sequence[float], rounds: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean, by a seeded bootstrap."""
    if not values:
        return (0.0, 0.0)
    array = np.asarray(values)
    draws = np.random.default_rng(0).integers(len(array), size=(rounds, len(array)))
    low, high = np.quantile(array[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)
