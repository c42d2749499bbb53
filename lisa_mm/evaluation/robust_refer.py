"""The metrics of R-RefCOCO: right sentences about a target, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..registry import METRICS
from .base import JudgedMetric, Terms, image_key
from .judged import Judged


@METRICS.register_module()
class RobustReferMetric(JudgedMetric):
    """mIoU, cIoU, mRR and rIoU of right and wrong sentences (Wu et al., "Towards robust referring image segmentation", 2024).

    As ``utils/validation.py`` of jianzongwu/robust-ref-seg computes them, but at the image's original size. A unit is one ref: a
    target with right sentences about it and wrong ones, which name what the image does not show.

    - mIoU: mean over refs of the mean IoU of its right sentences.
    - cIoU (the program's oIoU): summed intersections over summed unions of all right sentences.
    - mRR (the program's r): mean over refs of the share of wrong sentences that get no mask or an empty one.
    - rIoU: mean over refs of the summed intersections of right sentences, over their summed unions and the summed areas of the
      masks of wrong ones.

    All masks of an answer are united. A ref without right sentences does not count in mIoU, one without wrong sentences not in
    mRR. A wrong sentence has ``facts['kind'] == 'false'``, a right one 'true'; without a ``kind`` an empty target is wrong. A ref
    is an image with ``facts['ref']``; without a ``ref`` every sentence is a ref of its own.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def terms(self, judged: Judged) -> Terms:
        """The terms of a sentence that is the only one of its ref."""
        return self.ref_terms([judged])

    def units(self, judged: Sequence[Judged]) -> Iterator[tuple[str, Terms]]:
        """The terms of each ref."""
        refs: dict[object, list[Judged]] = {}
        for one in judged:
            refs.setdefault((one.sample_id, one.facts['ref']) if 'ref' in one.facts else one.key, []).append(one)
        for sentences in refs.values():
            yield image_key(sentences[0]), self.ref_terms(sentences)

    def ref_terms(self, sentences: Sequence[Judged]) -> Terms:
        """The terms of all sentences of a ref."""
        right = [one.joined for one in sentences if not is_wrong(one)]
        wrong = [one.joined[1] for one in sentences if is_wrong(one)]
        intersection, union = (sum(pair[side] for pair in right) for side in (0, 1))
        terms: dict[str, tuple[float, float]] = {}
        if right:
            terms['mIoU'] = sum(i / u if u else 1.0 for i, u in right) / len(right), 1
            terms['cIoU'] = intersection, union
        if wrong:
            terms['mRR'] = sum(area == 0 for area in wrong) / len(wrong), 1
        if union + sum(wrong):
            terms['rIoU'] = intersection / (union + sum(wrong)), 1
        return terms

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """How many right and wrong sentences there are."""
        wrong = sum(is_wrong(one) for one in judged)
        return {'num_right': float(len(judged) - wrong), 'num_wrong': float(wrong)}


def is_wrong(judged: Judged) -> bool:
    """Whether a sentence names what the image does not show."""
    return judged.facts.get('kind', 'false' if judged.is_empty else 'true') == 'false'
