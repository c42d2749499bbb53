"""The metrics of MUSE: questions with several targets, each with a mask of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ..registry import METRICS
from .base import JudgedMetric, Terms
from .judged import Judged
from .matching import assign


@METRICS.register_module()
class MultiTargetMetric(JudgedMetric):
    """gIoU and cIoU of masks matched one to one with the targets of a question (PixelLM, CVPR 2024; its ``ar_validate``).

    The matching has the greatest sum of IoUs (Hungarian method), also where the answer was given. A surplus mask and a target
    without one count as pairs of IoU 0, and their areas enter the unions. gIoU: mean IoU of the pairs. cIoU: summed
    intersections over summed unions. An answer without ``[SEG]`` leaves all targets alone.

    Other than PixelLM's program: it matches by cross-entropy and dice of the logits at random points; it counts a surplus mask
    that is empty as IoU 1; and the divisor of its gIoU is the larger of the numbers of masks and targets of an image, which is
    less than the number of pairs if one question about the image has masks too many and another one too few. The tables of its
    paper also let GPT-3.5 discard masks whose words do not fit, which no program here does.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def terms(self, judged: Judged) -> Terms:
        """The pairs of a question."""
        pairs = assign(judged)
        return {
            'gIoU': (sum(pair.iou for pair in pairs), len(pairs)),
            'cIoU': (sum(pair.intersection for pair in pairs), sum(pair.union for pair in pairs)),
        }

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """How many targets and masks there are."""
        masks, targets = sum(len(one.predicted) for one in judged), sum(len(one.targets) for one in judged)
        return {'num_questions': float(len(judged)), 'num_targets': float(targets), 'num_masks': float(masks)}
