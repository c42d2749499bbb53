"""Pictures of the model's segmentations during validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lisa_mm.datasets.tokenizer import count_masks
from lisa_mm.datasets.transforms import LoadImage, image_loader
from lisa_mm.drawing import BESIDE_GREEN, draw_answer, draw_outline, mask_colors
from lisa_mm.errors import ConfigError
from lisa_mm.registry import HOOKS
from lisa_mm.tokens import IGNORED, MASK_TOKENS
from lisa_mm.visualization import TRUE_COLOR, contact_sheet, short_question

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH

    from lisa_mm.engine.runner import LisaRunner

    from ...structures import SegDataSample


FOLDER = 'pictures'


@HOOKS.register_module()
class PicturesHook(Hook):
    """Writes a sheet of the first samples: true mask outlined green, predicted mask filled, question and IoU beneath.

    The fill is red, violet or pink, whichever differs most from the image there.

    The files are ``pictures/iter_N.png`` for a validation after N steps (``val.png`` outside training) and
    ``pictures/test.png``. An image with several masks shows the first one. Validation does not shuffle, so the same samples
    appear every time.

    Args:
        num_images: Number of samples.
        interval: Validations between sheets; every test writes one.
    """

    def __init__(self, num_images: int = 8, *, interval: int = 1):
        if num_images < 1 or interval < 1:
            raise ConfigError(f'PicturesHook has num_images={num_images}, interval={interval}: both must be at least 1.')
        self.num_images = num_images
        self.interval = interval
        self._items: list[tuple[np.ndarray, str]] = []
        self._validations = 0
        self._collects = False

    def before_val_epoch(self, runner: LisaRunner) -> None:
        """Begin a sheet if one is due."""
        self._begin(runner, 'val_dataloader', due=self._validations % self.interval == 0)
        self._validations += 1

    def before_test_epoch(self, runner: LisaRunner) -> None:
        """Begin a sheet."""
        self._begin(runner, 'test_dataloader', due=True)

    def after_val_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw samples until there are enough."""
        self._collect(outputs or [])

    def after_test_iter(
        self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw samples until there are enough."""
        self._collect(outputs or [])

    def after_val_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the sheet."""
        # outside training, reading the iteration would build the train loop with its data
        self._write(runner, f'iter_{runner.iter}' if runner.is_training else 'val')

    def after_test_epoch(self, runner: LisaRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the sheet."""
        self._write(runner, 'test')

    def _begin(self, runner: LisaRunner, loader: str, *, due: bool) -> None:
        dataset = (runner.cfg.get(loader) or {}).get('dataset') or {}
        self._load = image_loader(dataset.get('pipeline') or [])
        self._items = []
        self._collects = due and runner.rank == 0
        mllm = getattr((is_model_wrapper(runner.model) and runner.model.module) or runner.model, 'mllm', None)
        self._mask_tokens = mllm.tokenizer_spec['mask_tokens'] if mllm is not None else MASK_TOKENS

    def _collect(self, samples: Sequence[Any]) -> None:
        if not self._collects:
            return
        for sample in samples:
            if len(self._items) >= self.num_images:
                return
            has_masks = sample.get('masks') is not None or sample.get('mask_logits') is not None
            if has_masks and len(sample.get('gt_masks', ())):
                self._items.append(draw_sample(sample, self._mask_tokens, load=self._load))

    def _write(self, runner: LisaRunner, name: str) -> None:
        if self._items:
            path = Path(runner.work_dir) / FOLDER / f'{name}.png'
            contact_sheet(self._items, path, title=f'{name}: true mask outlined green, predicted mask filled')
            runner.logger.info(f'pictures of {len(self._items)} samples: {path}')
        self._items, self._collects = [], False


def draw_sample(sample: SegDataSample, mask_tokens: Sequence[str] = MASK_TOKENS, *, load: Any = None) -> tuple[np.ndarray, str]:
    """Draw the first mask of a predicted sample; of a generated answer, all masks of the first question.

    Args:
        sample: A sample with ``img_path``, ``conversations``, ``gt_masks`` and ``masks`` or ``mask_logits``.
        mask_tokens: Tokens that become masks.
        load: The pipeline's step that reads images; by default LoadImage.

    Returns:
        The picture, and its caption with question and IoU.
    """
    from lisa_mm.evaluation.judged import joined_pair, questions_of
    from lisa_mm.evaluation.seg_iou import iou

    first = next(questions_of(dict(sample.all_items())))
    shown = slice(1 if first.answer is None else None)
    predicted, target = first.predicted[shown], first.targets[shown].to(first.predicted.device)
    value = iou(*joined_pair(predicted, target))
    reader: Any = load or LoadImage()
    image = reader({'img_path': sample.img_path, 'sample_id': sample.sample_id})['img']
    found = predicted.cpu().numpy()
    image = draw_answer(image, found, mask_colors(image, found, palette=BESIDE_GREEN))
    # a mask may mark pixels with 255, which count neither way
    true = ((target > 0) & (target != IGNORED)).any(0).cpu().numpy()
    image = draw_outline(image, true, TRUE_COLOR)
    questions = mask_questions(sample.get('conversations') or [], mask_tokens)
    count = len(sample.gt_masks)
    which = f' (mask 1 of {count})' if count > 1 else ''
    return image, f'IoU {value:.3f}{which}\n{short_question(questions[0]) if questions else ""}'


def mask_questions(
    conversations: Sequence[Sequence[Sequence[str | None]]], mask_tokens: Sequence[str] = MASK_TOKENS
) -> list[str]:
    """The question of every mask, in the order of the masks.

    Args:
        conversations: Rows of (question, answer).
        mask_tokens: Tokens that become masks.

    Returns:
        One question per mask.
    """
    questions = []
    for question, answer in (turn for row in conversations for turn in row):
        questions += [str(question)] * count_masks(str(question) + str(answer or ''), mask_tokens)
    return questions
