"""Judge predictions made elsewhere as our own: the same counts of the same questions."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from ...datasets.base import BaseSegDataset
from ...datasets.images import image_size
from ...datasets.mask_images import read_label_map
from ...datasets.masks import EncodedMask, decode_mask
from ...errors import DataError
from ...progress import progress
from ...tokens import IGNORED, SEG_TOKEN
from ..judged import Judged, as_run_lengths, count
from .entries import COCO, OWN, PNGS, Prediction, Predictions
from .questions import AskedQuestion, Questions

FAULTS_SHOWN = 5
MISSING = 'questions have no prediction: an empty mask counts for each'
COUNTED = 'questions are scored from counts of pixels, for the file has no masks: on which targets is not known'
MISFIT = 'questions have counts that do not fit our target: theirs was another one (perhaps with its ignored pixels)'
BLANK = 'masks without a pixel: they say that nothing is there'


def judge_predictions(
    predictions: Predictions, dataset: BaseSegDataset, *, keep_masks: bool = True, notes: list[str] | None = None
) -> list[Judged]:
    """Judge every question of a split; one without a prediction counts as an empty mask, and how many there are is said.

    Args:
        predictions: See :func:`.reading.read_predictions`.
        dataset: The split, in test mode.
        keep_masks: Whether to keep masks as run lengths.
        notes: A list that gets a sentence for each thing that must be known with the figures; without it, they are logged as
            warnings.

    Returns:
        The questions in the order of the data set. ``answer`` is the text in the file with a ``[SEG]`` for each mask, and that of
        our own rows as it is; a PNG without a pixel is no mask.

    Raises:
        DataError: for predictions that name no question, two for one question (COCO results may have several masks), and a mask
            of another size than the image.
    """
    questions = Questions(dataset)
    found = _assign(predictions, questions)
    said: Counter[str] = Counter(predictions.notes)
    said[MISSING] = len(questions.all) - len(found)
    judged = []
    for number, question in enumerate(progress(questions.all, 'predictions', 'question')):
        judged.append(_judge(question, found.get(number, []), predictions.kind, keep_masks, said))
    sentences = [f'{amount:,} of {len(judged):,} {what}' for what in (MISSING, COUNTED, MISFIT) if (amount := said.pop(what, 0))]
    sentences += [f'{what} ({amount:,})' for what, amount in said.items() if amount]
    for sentence in sentences:
        if notes is None:
            print_log(f'{predictions.path}, {dataset.title}: {sentence}', 'current', logging.WARNING)
        else:
            notes.append(sentence)
    return judged


def _assign(predictions: Predictions, questions: Questions) -> dict[int, list[Prediction]]:
    """Number of a question -> its predictions."""
    found: dict[int, list[Prediction]] = defaultdict(list)
    lost, twice = [], []
    for entry in predictions.entries:
        place = questions.find(entry)
        if place is None:
            lost.append(entry)
            continue
        if found[place] and predictions.kind != COCO:
            twice.append(f'{found[place][0].where} and {entry.where} are both about {questions.all[place].name}. Take one out.')
        found[place].append(entry)
    faults = [questions.fault(entry) for entry in lost[:FAULTS_SHOWN]] + twice[:FAULTS_SHOWN]
    if faults:
        rest = len(lost) + len(twice) - len(faults)
        raise DataError('\n'.join([*faults, *([f'... and {rest:,} more'] if rest else [])]), file=predictions.path)
    return dict(found)


def _judge(question: AskedQuestion, given: Sequence[Prediction], kind: str, keep_masks: bool, said: Counter[str]) -> Judged:
    height, width = image_size(question.img_path)
    where = f'{question.sample_id} row {question.row}'
    targets = np.stack([decode_mask(spec, height, width, where) for spec in question.targets])
    known: dict[str, Any] = {
        **{name: getattr(question, name) for name in ('sample_id', 'img_path', 'row', 'turn', 'question', 'facts')},
        'size': (height, width),
    }
    if given and given[0].counts is not None:
        said[COUNTED] += 1
        return Judged(**known, **_from_counts(given[0], question, torch.from_numpy(targets), said))
    masks = [_decode(mask, entry.where, height, width) for entry in given for mask in entry.masks]
    if kind == PNGS and masks and not masks[0].any():
        said[BLANK] += 1
        masks = []
    predicted = torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, height, width), dtype=torch.bool)
    answer = _answer(given, len(masks), kind)
    if answer is None and len(masks) != len(targets):
        raise DataError(
            f'{given[0].where}: the answer was in the prompt, so each target has a mask; there are {len(masks)} masks and '
            f'{len(targets)} targets of {question.name}.'
        )
    counted: dict[str, Any] = count(predicted, torch.from_numpy(targets))
    if keep_masks:
        wanted = torch.from_numpy((targets > 0) & (targets != IGNORED))
        counted |= {'masks': as_run_lengths(predicted), 'target_masks': as_run_lengths(wanted)}
    return Judged(**known, answer=answer, **counted)


def _answer(given: Sequence[Prediction], masks: int, kind: str) -> str | None:
    if given and (kind == OWN or given[0].answer is not None):
        return given[0].answer
    return ' '.join([*(entry.text for entry in given if entry.text), *[SEG_TOKEN] * masks])


def _from_counts(entry: Prediction, question: AskedQuestion, targets: Tensor, said: Counter[str]) -> dict[str, Any]:
    """The counts of :class:`Judged` from an intersection and a union."""
    assert entry.counts is not None
    if len(targets) > 1:
        raise DataError(
            f'{entry.where} has one intersection and union, {question.name} has {len(targets)} targets: masks are needed.'
        )
    intersection, union = entry.counts
    area = int(((targets[0] > 0) & (targets[0] != IGNORED)).sum())
    if area and not union:
        raise DataError(
            f'{entry.where}: the union is 0, but the target of {question.name} has {area} pixels: it was counted elsewhere.'
        )
    said[MISFIT] += union < area or intersection > area
    predicted = max(union - area + intersection, intersection)
    found = predicted > 0
    return {
        'answer': ' '.join([*([entry.text] if entry.text else []), *([SEG_TOKEN] if found else [])]),
        'targets': [area],
        'predicted': [predicted] if found else [],
        'intersections': [[intersection]] if found else [],
        'unions': [[union]] if found else [],
        'joined': (intersection, union),
    }


def _decode(mask: EncodedMask | Path, where: str, height: int, width: int) -> np.ndarray:
    """(H, W) bool.

    Raises:
        DataError: for another size, or values that mean nothing here.
    """
    if isinstance(mask, Path):
        values = read_label_map(mask)
        _check_size(values.shape, where, height, width)
        held = np.unique(values).tolist()
        if not set(held) <= {0, 1} and not set(held) <= {0, 255}:
            shown = ', '.join(map(str, held[:6])) + (', ...' if len(held) > 6 else '')
            raise DataError(f'{where} holds the values {shown}; 0 is background, 255 (or 1) is object, nothing else is allowed.')
        return values > 0
    assert 'segmentations' in mask
    for part in mask['segmentations']:
        if isinstance(part, dict):
            _check_size(tuple(part['size']), where, height, width)
    return decode_mask(mask, height, width, where) > 0


def _check_size(size: tuple[int, ...], where: str, height: int, width: int) -> None:
    if size != (height, width):
        raise DataError(
            f'{where}: the mask is {size}, the image {(height, width)} (height, width). Predictions are judged at the original '
            'size of the image: scale the mask back before it is made of 0 and 1.'
        )
