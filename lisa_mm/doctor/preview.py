"""A sheet of samples as the model receives them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ..datasets.conversation import mark_loss
from ..datasets.tokenizer import build_tokenizer
from ..datasets.transforms import DecodeMasks, image_loader
from ..drawing import draw_answer, mask_colors
from ..registry import DATASETS, TRANSFORMS
from ..visualization import save_figure
from .sets import without_pipeline

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LINE = 110
LINES = 9


def preview(
    dataset_config: dict[str, Any], encoder_config: dict[str, Any], path: str | Path, *, count: int, start: int = 0
) -> Path:
    """Write a PNG with one line per sample: image, masks, and each row's exact text; «...» carries loss.

    Args:
        dataset_config: Compiled config of the data set.
        encoder_config: The pipeline's EncodeConversations, compiled.
        path: Path of the PNG.
        count: Number of samples.
        start: Number of the first item.
    """
    dataset = DATASETS.build(without_pipeline(dataset_config))
    load, decode, encoder = image_loader(dataset_config.get('pipeline') or []), DecodeMasks(), TRANSFORMS.build(encoder_config)
    tokenizer = build_tokenizer(**encoder.spec)
    count = min(count, len(dataset)) if getattr(dataset, 'test_mode', False) else count
    figure = Figure(figsize=(14, 3.2 * count), layout='constrained')
    for line in range(count):
        sample = encoder(decode(load(dataset[start + line])))  # pyright: ignore[reportArgumentType] - mmengine's transforms may give None
        left, right = figure.add_subplot(count, 2, 2 * line + 1), figure.add_subplot(count, 2, 2 * line + 2)
        left.imshow(with_masks(sample['img'], sample['gt_masks']))
        left.set_xlabel(f'{start + line}: {sample["sample_id"]}', fontsize=8, parse_math=False)
        left.set_xticks([])
        left.set_yticks([])
        right.axis('off')
        right.text(
            0, 1, conversation_text(sample['rows'], tokenizer), va='top', fontsize=6.5, family='monospace', parse_math=False
        )
    return save_figure(figure, path)


def with_masks(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Draw the masks over the image, each in its own colour; pixels that count neither way (255) are left out."""
    shown = np.asarray(masks) == 1
    return draw_answer(image, shown, mask_colors(image, shown))


def conversation_text(rows: list[Any], tokenizer: PreTrainedTokenizerBase) -> str:
    """Every row, decoded from its tokens; the middle of a long row is left out."""
    texts = []
    for number, (ids, labels) in enumerate(rows):
        trained = int((labels != -100).sum())
        lines = textwrap.wrap(mark_loss(ids, labels, tokenizer).replace('\n', '\\n'), LINE)
        if len(lines) > LINES:
            lines = [*lines[: LINES // 2], '[...]', *lines[-LINES // 2 :]]
        texts.append('\n'.join([f'row {number}: {len(ids)} tokens, {trained} with loss', *lines]))
    return '\n'.join(texts)
