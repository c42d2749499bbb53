"""The metrics of refCOCO, refCOCO+ and refCOCOg."""

from __future__ import annotations

from ..registry import METRICS
from .base import JudgedMetric, Terms
from .judged import Judged

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@METRICS.register_module()
class ReferIoUMetric(JudgedMetric):
    """cIoU, mIoU and Pr@0.5 to Pr@0.9 over expressions, as LAVT's ``test.py`` computes them (yz93/LAVT-RIS, CVPR 2022).

    cIoU: summed intersections over summed unions (papers also say oIoU). mIoU: mean IoU. Pr@X: share of expressions with an IoU
    of at least X. All masks of an answer are united and compared with all targets of the expression together; an answer without
    ``[SEG]`` is an empty mask. ``gIoU`` is mIoU under the name of LISA's program, which the RESULT line shows.

    refCOCO's expressions all have a target. An expression without one has IoU 1 for an empty mask, as in LISA's program (LAVT's
    has 0), and otherwise 0.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def terms(self, judged: Judged) -> Terms:
        """The terms of an expression; each counts once but in cIoU."""
        intersection, union = judged.joined
        iou = intersection / union if union else 1.0
        precisions = {f'Pr@{threshold}': (float(iou >= threshold), 1) for threshold in THRESHOLDS}
        return {'gIoU': (iou, 1), 'cIoU': (intersection, union), 'mIoU': (iou, 1), **precisions}
