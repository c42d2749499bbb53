"""The metrics of FP-RefCOCO: See, Say, Segment."""

from __future__ import annotations

import re

from ..errors import ConfigError
from ..registry import METRICS
from .base import JudgedMetric, Terms
from .judged import Judged, Pair


@METRICS.register_module()
class FalsePremiseMetric(JudgedMetric):
    """See, Segment and Say of sentences about things that may not be there (SESAME, CVPR 2024; its ``eval_sesame.py``).

    See: share of sentences for which "is it there" is right; the model says yes by a ``[SEG]`` whose mask is not empty. Where the
    answer was given, by a mask that is not empty. Segment (``cIoU``): summed intersections over summed unions of all sentences;
    the target of a false premise is empty, so a mask there adds its area to the unions. Of several ``[SEG]`` in an answer the
    first counts, as in SESAME's program; no ``[SEG]`` is an empty mask.

    Say: share of false premises whose answer names the corrected expression: ``facts['gt_sent']`` stands in it word by word, in
    lower case and without punctuation. SESAME's program leaves Say out and its paper asks a language model (CLAIR), so published
    figures of Say do not compare. It counts answers of the model's own to false premises with a ``gt_sent``.

    A false premise has ``facts['kind'] == 'false'``; without a ``kind``, an empty target.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def terms(self, judged: Judged) -> Terms:
        """See and cIoU of every sentence; Say of a false premise."""
        is_false = judged.facts.get('kind', 'false' if judged.is_empty else 'true') == 'false'
        seen = bool(judged.predicted and judged.predicted[0])
        terms = {'See': (float(seen != is_false), 1), 'cIoU': first_pair(judged)}
        corrected = judged.facts.get('gt_sent')
        if is_false and corrected and judged.answer is not None:
            terms['Say'] = (float(names(judged.answer, corrected)), 1)
        return terms


def first_pair(judged: Judged) -> Pair:
    """Intersection and union of the first predicted mask, or of none, with the target.

    Raises:
        ConfigError: for several targets.
    """
    if len(judged.targets) > 1:
        raise ConfigError(
            f'FalsePremiseMetric compares one mask with one target, but {judged.question!r} of {judged.sample_id} has '
            f'{len(judged.targets)} targets. Use GeneralizedReferMetric or MultiTargetMetric.'
        )
    if not judged.targets:
        return 0, judged.predicted[0] if judged.predicted else 0
    return (judged.intersections[0][0], judged.unions[0][0]) if judged.predicted else (0, judged.targets[0])


def names(answer: str, phrase: str) -> bool:
    """Whether an answer holds a phrase, word by word, in lower case and without punctuation.

    >>> names('No. But there is a "Red Cup", see [SEG].', 'red cup')
    True
    >>> names('There are red cups.', 'red cup')
    False
    """
    return f' {plain(phrase)} ' in f' {plain(answer)} '


def plain(text: str) -> str:
    """Words in lower case, with one blank between them."""
    return ' '.join(re.findall(r'\w+', text.lower()))
