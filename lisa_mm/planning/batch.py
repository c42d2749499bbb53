"""A batch of a given shape, for the calculation (on the meta device) and for the measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..datasets.transforms import ResizeForVisionTower
from ..structures import SegDataSample
from ..tokens import IGNORE_INDEX, IMAGE_TOKEN_ID

if TYPE_CHECKING:
    from ..models.lisa import LISA


BLANK = (32, 32)
ANSWER = 12  # tokens of a row that carry loss, [SEG] included ("Sure, it is [SEG].</s>")


@dataclass(frozen=True)
class BatchShape:
    """The numbers that determine the memory of a forward.

    Args:
        images: Images per forward.
        rows: Conversations per image, each with one ``[SEG]``.
        tokens: Tokens per row, image tokens included, the same for all rows.
        size: Height and width of the images in pixels, which masks are resized to.
    """

    images: int
    rows: int
    tokens: int
    size: tuple[int, int]


def image_inputs(model: LISA) -> tuple[str, Any, int]:
    """One image's vision inputs: their key in a sample, the inputs on the default device, and the number of image tokens."""
    mllm = model.mllm
    if mllm.tokens_by_image:
        return 'image_inputs', *mllm.largest_image()
    device = torch.get_default_device()
    with torch.device('cpu'):  # the pipeline itself makes the pixels, from an image of arbitrary size
        blank = np.zeros((*BLANK, 3), dtype=np.uint8)
        pixels = ResizeForVisionTower(mllm.preprocess).transform({'img': blank})['pixel_values']
    return 'pixel_values', torch.zeros(pixels.shape, dtype=torch.uint8, device=device), mllm.num_image_tokens(*BLANK)


def sample_item(model: LISA, shape: BatchShape, index: int = 0) -> dict[str, Any]:
    """One item as a pipeline returns it; ids are real, images and masks are on the default device.

    Args:
        model: A LISA, for its widths and the id of ``[SEG]``.
        shape: Shape of the batch.
        index: Number in the sample's name.
    """
    key, seen, image_tokens = image_inputs(model)
    if shape.tokens < image_tokens + ANSWER + 2:
        raise ValueError(f'{shape.tokens} tokens of a row leave no room beside {image_tokens} image tokens')
    ids = torch.full((shape.tokens,), 6, device='cpu')
    ids[1 : 1 + image_tokens] = IMAGE_TOKEN_ID
    ids[-3] = model.seg_token_id  # pyright: ignore[reportArgumentType] - planned ids are known
    labels = torch.full((shape.tokens,), IGNORE_INDEX, device='cpu')
    labels[-ANSWER:] = ids[-ANSWER:]
    preprocess = model.mask_decoder.preprocess
    side, size = preprocess['image_size'], shape.size
    scale = side / max(size)
    resized = (round(size[0] * scale), round(size[1] * scale)) if preprocess['resize'] == 'longest_side' else (side, side)
    sample = SegDataSample(
        metainfo=dict(
            sample_id=f'shape_{index}', img_path='', original_size=size, resized_size=resized, conversations=[[]] * shape.rows
        )
    )
    sample.set_data({'gt_masks': torch.ones(shape.rows, *size, dtype=torch.uint8)})
    rows = [(ids.clone(), labels) for _ in range(shape.rows)]
    for row, (own, _) in enumerate(rows):
        own[1 + image_tokens] += row  # different questions, since a common prefix may be computed once
    inputs = {key: seen, 'mask_image': torch.zeros(3, side, side, dtype=torch.uint8), 'rows': rows}
    return {'inputs': inputs, 'data_sample': sample}
