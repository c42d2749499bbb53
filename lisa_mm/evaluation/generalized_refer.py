"""The metrics of gRefCOCO: masks of one, several or no targets, and whether a model says that nothing is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..registry import METRICS
from .base import JudgedMetric, Terms
from .judged import Judged


@METRICS.register_module()
class GeneralizedReferMetric(JudgedMetric):
    """gIoU, cIoU, N-acc and T-acc (GRES, CVPR 2023; GSVA, CVPR 2024), as ReLA's ``refer_evaluation.py`` sums them.

    Says "nothing is there": an answer of the model's own with the rejection's token, or without ``[SEG]`` (GSVA). Where the
    answer was given there are no words to judge, and an empty mask says so. With ``min_pixels`` masks of fewer pixels say so too;
    ReLA's paper has 50. Several masks of an answer are united for the IoU, and their areas are added for ``min_pixels``.

    =================  ========================  ==========================
    \\                  the model says "nothing"  it does not
    =================  ========================  ==========================
    target is empty    N-acc right, IoU 1        N-acc wrong, IoU 0
    target not empty   T-acc wrong, IoU 0        T-acc right, IoU as usual
    =================  ========================  ==========================

    gIoU is the mean of these IoUs, cIoU the sum of intersections over the sum of unions: a mask where nothing is adds its area to
    the unions, a right "nothing" adds 0, and a wrong one intersects in 0 pixels. A target is empty if no pixel is 1.

    Where the model says the last answer of a conversation, only last answers count. A score over no question is left out;
    ``num_empty`` and ``num_targets`` say over how many N-acc and T-acc are.

    Args:
        rejection: Answer token that says "nothing".
        min_pixels: Masks with fewer pixels in all say "nothing" too.
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def __init__(self, rejection: str = '[REJ]', *, min_pixels: int = 0, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.rejection = rejection
        self.min_pixels = min_pixels

    def says_nothing(self, judged: Judged) -> bool:
        """Whether the model says that nothing is there."""
        area = sum(judged.predicted)
        if area < self.min_pixels:
            return True
        return area == 0 if judged.answer is None else self.rejection in judged.answer or not judged.predicted

    def terms(self, judged: Judged) -> Terms:
        """The table above."""
        nothing = self.says_nothing(judged)
        intersection, union = judged.joined
        if judged.is_empty:
            return {'gIoU': (float(nothing), 1), 'cIoU': (0, 0 if nothing else union), 'N-acc': (float(nothing), 1)}
        common = 0 if nothing else intersection
        return {'gIoU': (common / union, 1), 'cIoU': (common, union), 'T-acc': (float(not nothing), 1)}

    def units(self, judged: Sequence[Judged]) -> Iterator[tuple[str, Terms]]:
        """Terms of the questions that the model answered; of all if the answers were given."""
        return super().units(answered(judged))

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """Over how many questions N-acc and T-acc are."""
        empty = [one.is_empty for one in answered(judged)]
        return {'num_empty': float(sum(empty)), 'num_targets': float(len(empty) - sum(empty))}


def answered(judged: Sequence[Judged]) -> Sequence[Judged]:
    """The questions that the model answered; all if the answers were given. Earlier turns of a conversation are always given."""
    return [one for one in judged if one.answer is not None] or judged
