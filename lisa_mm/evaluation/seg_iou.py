"""LISA's metrics gIoU and cIoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..registry import METRICS
from ..tokens import IGNORED
from .base import JudgedMetric, Terms
from .bootstrap import ROUNDS, interval_of_ratio
from .judged import Judged

Pairs = list[tuple[int, int]]  # (intersection, union) of masks


@METRICS.register_module()
class SegIoUMetric(JudgedMetric):
    """gIoU: mean IoU over masks; cIoU: summed intersections over summed unions (Lai et al., CVPR 2024).

    Per mask, IoU = I / (U + 1e-5), and 1 where both are empty; gIoU = sum / (masks + 1e-5); cIoU = sum I / (sum U + 1e-10).
    Pixels with 255 are left out; overlapping annotations (values above 1) are clipped to 1. Counts are int64.

    Where the answer was given, each ``[SEG]`` is compared with its target. Where the model said it, the masks of a question are
    united and compared with all its targets, and an answer without ``[SEG]`` is an empty mask.

    After an evaluation ``pairs`` holds (intersection, union) of every mask, image by image in the order of the data set, on the
    first process.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
        bootstrap: Rounds of a bootstrap over images; above 0, its 95 % interval is logged as ``gIoU_low`` and ``gIoU_high``.
    """

    EPSILONS = {'gIoU': 1e-5, 'cIoU': 1e-10}

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, *, bootstrap: int = 0):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.bootstrap = bootstrap
        self.pairs: list[Pairs] = []

    def terms(self, judged: Judged) -> Terms:
        """gIoU's and cIoU's terms of a question's masks; by ``kind`` too, where the benchmark has kinds (short, long)."""
        pairs = judged.pairs
        terms = {
            'gIoU': (sum(iou(*pair) for pair in pairs), len(pairs)),
            'cIoU': (sum(i for i, _ in pairs), sum(u for _, u in pairs)),
        }
        kind = judged.facts.get('kind')
        return terms if kind is None else {**terms, **{f'{name} {kind}': values for name, values in terms.items()}}

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """``num_masks`` reveals an empty set."""
        return {'num_masks': float(sum(len(one.pairs) for one in judged))}

    def process(self, data_batch: object, data_samples: Sequence[Any]) -> None:
        """Count pixels of data samples (or their dicts) with ``gt_masks`` and ``masks`` or ``mask_logits``, all (K, H, W)."""
        super().process(data_batch, data_samples)
        new = self.results[len(self.results) - len(data_samples) :]
        # pairs are all that these scores need, and little to gather
        self.results[len(self.results) - len(data_samples) :] = [[pair for one in image for pair in one.pairs] for image in new]

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """gIoU and cIoU, and ``num_masks``, which reveals an empty set."""
        self.pairs = results
        pairs = [pair for image in results for pair in image]
        found = {**summarise(pairs), 'num_masks': float(len(pairs))}
        if self.bootstrap:
            found['gIoU_low'], found['gIoU_high'] = giou_interval(results, self.bootstrap)
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


def giou_interval(images: Sequence[Pairs], rounds: int = ROUNDS) -> tuple[float, float]:
    """95 % interval of gIoU by a bootstrap over images; NaN twice without masks.

    Args:
        images: The (intersection, union) pairs of each image.
        rounds: Number of resamples.
    """
    sums = [sum(iou(*pair) for pair in pairs) for pairs in images]
    return interval_of_ratio(sums, [len(pairs) for pairs in images], rounds)
