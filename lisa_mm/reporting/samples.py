"""Which questions a report shows, and their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..datasets.images import read_image
from ..datasets.run_lengths import RLE, decode_rle
from ..drawing import BESIDE_GREEN, draw_answer, draw_outline, mask_colors
from ..errors import DataError
from ..evaluation.judged import Judged
from ..visualization import TRUE_COLOR

SIDE = 320  # pixels of a picture's width
TALLEST = 1.5  # of its height per width
KINDS = ('worst', 'best', 'random')
REJECTION = '[REJ]'


@dataclass(frozen=True)
class Sample:
    """A question that is shown.

    Args:
        answers: The question with the answer of each model; None for a model without it.
        iou: Mean IoU over the models.
    """

    answers: list[Judged | None]
    iou: float

    @property
    def first(self) -> Judged:
        """The question, as the first model that has it answered."""
        return next(one for one in self.answers if one is not None)


def question_iou(judged: Judged) -> float:
    """Mean IoU of a question's pairs, as gIoU counts them; 1 where both masks are empty.

    Answers with another number of masks than of targets are united.
    """
    alike = judged.answer is None and len(judged.predicted) == len(judged.targets) > 0
    pairs = judged.pairs if alike else [judged.joined]
    return float(np.mean([i / u if u else 1.0 for i, u in pairs]))


def says_nothing(judged: Judged) -> bool:
    """Whether an answer says that nothing is there: by ``[REJ]``, without a mask, or with empty masks alone."""
    return REJECTION in (judged.answer or '') or not any(judged.predicted)


def confusion(rows: Sequence[Judged]) -> np.ndarray:
    """(2, 2) int64 numbers of questions: row: something there, nothing there; column: the answer says so."""
    table = np.zeros((2, 2), np.int64)
    for one in rows:
        table[int(one.is_empty), int(says_nothing(one))] += 1
    return table


def choose(rows_by_model: Sequence[Sequence[Judged] | None], number: int, seed: int = 0) -> dict[str, list[Sample]]:
    """The worst, the best and random questions by mean IoU over the models; no question twice.

    The best ones have a target: an empty mask where nothing is there is right, but there is little to see.

    Args:
        rows_by_model: The judged questions of each model.
        number: Of each kind, as far as there are questions.
        seed: Seed of the random choice.
    """
    tables = [{one.key: one for one in rows or ()} for rows in rows_by_model]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    samples = []
    for key in keys:
        answers = [table.get(key) for table in tables]
        samples.append(Sample(answers, float(np.mean([question_iou(one) for one in answers if one is not None]))))
    ordered = sorted(range(len(samples)), key=lambda n: samples[n].iou)
    worst = ordered[:number]
    best = [n for n in reversed(ordered) if n not in worst and not samples[n].first.is_empty][:number]
    left = [n for n in ordered if n not in worst and n not in best]
    drawn = np.random.default_rng(seed).permutation(len(left))[:number]
    chosen = (worst, best, [left[n] for n in drawn])
    return {kind: [samples[n] for n in numbers] for kind, numbers in zip(KINDS, chosen, strict=True)}


def picture_of(judged: Judged) -> np.ndarray | str:
    """The image with the targets outlined green and the predicted masks filled, or why there is none.

    Returns:
        (H', W', 3) uint8 RGB, at most 320 pixels wide, or a sentence.

    Raises:
        DataError: for a damaged mask.
    """
    if judged.img_path is None:
        return 'the rows name no image file'
    try:
        image = read_image(judged.img_path)
    except DataError as error:
        missing = not Path(judged.img_path).exists()
        return f'{Path(judged.img_path).name} is missing' if missing else str(error)
    if image.shape[:2] != judged.size:
        return f'{Path(judged.img_path).name} is {image.shape[:2]} now, and was {judged.size} (height, width)'
    height, width = judged.size
    scale = min(1.0, SIDE / width, SIDE * TALLEST / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    predicted = [_small_mask(judged, rle, size) for rle in judged.masks or ()]
    masks = np.stack(predicted) if predicted else np.zeros((0, *small.shape[:2]), bool)
    drawn = draw_answer(small, masks, mask_colors(small, masks, palette=BESIDE_GREEN))
    for rle in judged.target_masks or ():
        drawn = draw_outline(drawn, _small_mask(judged, rle, size), TRUE_COLOR)
    return drawn


def _small_mask(judged: Judged, rle: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A mask at (width, height); what is there stays at least a pixel."""
    try:
        if tuple(rle['size']) != judged.size:
            raise ValueError(f'its size is {rle["size"]}')
        mask = decode_rle(RLE(size=rle['size'], counts=rle['counts']))
    except ValueError as error:
        raise DataError(f'{judged.sample_id}, row {judged.row}: a mask is damaged: {error}. Evaluate again.') from error
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = share >= 0.5
    return small if small.any() else share > 0


def as_jpeg(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 -> a data URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'JPEG', quality=82, optimize=True)
    return 'data:image/jpeg;base64,' + base64.b64encode(file.getvalue()).decode()
