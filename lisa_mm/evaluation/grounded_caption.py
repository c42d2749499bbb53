"""The metrics of grounded conversation (GCG): captions whose phrases have masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..registry import METRICS, TEXT_SIMILARITIES
from ..tokens import MASK_TOKENS
from .average_precision import average_precision
from .base import JudgedMetric, Terms
from .captions import caption_scores
from .judged import Judged
from .matching import greedy, ious
from .text_similarity import TextSimilarity

PHRASE = re.compile(r'<p>(.*?)</p>', re.DOTALL)
TAG = re.compile(r'<.*?>')


@METRICS.register_module()
class GroundedCaptionMetric(JudgedMetric):
    """AP50, mIoU, recall, METEOR and CIDEr of captions with masks (GLaMM, CVPR 2024; its ``eval/gcg/evaluate.py``).

    - AP50: COCO's AP at IoU 0.5 of all masks with score 1 (:func:`.average_precision.average_precision`).
    - mIoU: mean over images of the mean IoU of pairs; pairs are formed by falling IoU, one to one, as far as masks overlap. An
      image without a pair counts 0.
    - recall: share of targets that are found. Pairs are formed by falling IoU, as long as IoU and text similarity are both at
      least 0.5; as in GLaMM's program the first pair below ends the image. The published similarity is that of
      ``bert-base-uncased``; the default, :class:`.text_similarity.TokenF1`, needs no model. The score's name says which was
      used: ``recall_token_f1``, or ``recall_encoder`` with ``dict(type='EncoderSimilarity', path=...)``.
    - METEOR and CIDEr of the answers without ``[SEG]`` and tags against ``facts['caption']``, by pycocoevalcap, which needs
      ``pip install lisa_mm[gcg]`` and Java. Without them one sentence in the log says so and there is no figure.

    The phrase of a mask is the last ``<p> phrase </p>`` before its ``[SEG]``. Phrases of targets are ``facts['phrases']``, one
    for each; a question with another number of them counts in everything but recall, and ``num_unnamed`` is the number of such
    targets. Where the answer was given, masks have the phrases of their targets, and there is no METEOR and no CIDEr. A target
    without any pixel is none. An answer without ``[SEG]`` has no masks.

    Args:
        similarity: Config of a text similarity.
        mask_tokens: Answer tokens that ask for a mask.
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    needs_masks = True
    AT_LEAST = 0.5  # IoU and text similarity of a found target

    def __init__(
        self,
        similarity: Mapping[str, Any] | None = None,
        *,
        mask_tokens: list[str] | tuple[str, ...] = MASK_TOKENS,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.similarity: TextSimilarity = TEXT_SIMILARITIES.build(dict(similarity or {'type': 'TokenF1'}))
        self.mask_tokens = tuple(mask_tokens)

    def terms(self, judged: Judged) -> Terms:
        """mIoU's and recall's terms of a question."""
        judged, phrases = with_area(judged)
        paired = [pair.iou for pair in greedy(judged) if pair.predicted is not None and pair.target is not None]
        terms = {'mIoU': (sum(paired) / len(paired) if paired else 0.0, 1)}
        if phrases is not None:
            terms[f'recall_{self.similarity.label}'] = (self.found(judged, phrases), len(phrases))
        return terms

    def found(self, judged: Judged, phrases: Sequence[str]) -> int:
        """Number of targets that are found."""
        said = judged.facts['phrases'] if judged.answer is None else phrases_of(judged, self.mask_tokens)
        values = ious(judged).T  # (T, P)
        count = 0
        taken: tuple[set[int], set[int]] = (set(), set())
        for place in np.argsort(-values, axis=None, kind='stable'):
            target, mask = divmod(int(place), values.shape[1])
            if target in taken[0] or mask in taken[1]:
                continue
            if values[target, mask] < self.AT_LEAST or self.similarity(phrases[target], said[mask]) < self.AT_LEAST:
                break
            taken[0].add(target)
            taken[1].add(mask)
            count += 1
        return count

    def others(self, judged: Sequence[Judged]) -> dict[str, float]:
        """AP50, METEOR and CIDEr."""
        judged = [with_area(one)[0] for one in judged]
        predicted, targets = [one.masks for one in judged], [one.target_masks for one in judged]
        if None in predicted or None in targets:
            raise ConfigError('AP50 of grounded captions needs the masks of all questions, but they were not kept.')
        precision = average_precision([m for m in predicted if m is not None], [m for m in targets if m is not None])
        said = [(one.answer, references_of(one)) for one in judged if one.answer is not None]
        told = [(plain_caption(answer, self.mask_tokens), references) for answer, references in said if references]
        scores = caption_scores([caption for caption, _ in told], [references for _, references in told])
        return scores if precision is None else {'AP50': precision, **scores}

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """How many questions, targets and masks there are, and how many targets without a phrase."""
        known = [with_area(one) for one in judged]
        return {
            'num_questions': float(len(judged)),
            'num_targets': float(sum(len(one.targets) for one, _ in known)),
            'num_masks': float(sum(len(one.predicted) for one in judged)),
            'num_unnamed': float(sum(len(one.targets) for one, phrases in known if phrases is None)),
        }


def with_area(judged: Judged) -> tuple[Judged, list[str] | None]:
    """A question without its empty targets, and the phrases of the others; None if they are not as many as targets."""
    kept = [number for number, area in enumerate(judged.targets) if area]
    phrases = judged.facts.get('phrases') or []
    named = [phrases[number] for number in kept] if len(phrases) == len(judged.targets) else None
    masks = judged.target_masks
    return (
        replace(
            judged,
            targets=[judged.targets[number] for number in kept],
            intersections=[[row[number] for number in kept] for row in judged.intersections],
            unions=[[row[number] for number in kept] for row in judged.unions],
            target_masks=None if masks is None else [masks[number] for number in kept],
        ),
        named,
    )


def phrases_of(judged: Judged, mask_tokens: Sequence[str] = MASK_TOKENS) -> list[str]:
    """The phrase of each mask of an answer: the last one before its token, empty if there is none.

    Raises:
        ConfigError: if the answer has not as many mask tokens as masks.
    """
    parts = re.split('|'.join(map(re.escape, mask_tokens)), judged.answer or '')[:-1]
    phrases, last = [], ''
    for part in parts:
        found = PHRASE.findall(part)
        last = found[-1].strip() if found else last
        phrases.append(last)
    if len(phrases) != len(judged.predicted):
        raise ConfigError(
            f'the answer to {judged.question!r} about {judged.sample_id} asks for {len(phrases)} masks by '
            f'{", ".join(mask_tokens)}, but has {len(judged.predicted)}. Give GroundedCaptionMetric the mask_tokens of the model.'
        )
    return phrases


def plain_caption(answer: str, mask_tokens: Sequence[str] = MASK_TOKENS) -> str:
    """An answer without mask tokens and tags.

    >>> plain_caption('<p> A dog </p> [SEG] on <p> grass </p> [SEG].')
    'A dog on grass .'
    """
    for token in mask_tokens:
        answer = answer.replace(token, '')
    return ' '.join(TAG.sub('', answer).split())


def references_of(judged: Judged) -> list[str]:
    """The reference captions of a question."""
    caption = judged.facts.get('caption') or []
    return [caption] if isinstance(caption, str) else list(caption)
