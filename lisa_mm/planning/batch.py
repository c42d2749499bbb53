"""A batch of a given shape, for the calculation (on the meta device) and for the measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..structures import SegDataSample
from ..tokens import IGNORE_INDEX, IMAGE_TOKEN_ID

if TYPE_CHECKING:
    from ..models.lisa import LISA


ANSWER = 12  # tokens of a row that carry loss, [SEG] among them ("Sure, it is [SEG].</s>")


@dataclass(frozen=True)
class BatchShape:
    """What the memory of a forward depends on.

    Args:
        images: Of a forward.
        rows: Conversations of an image, each with one ``[SEG]``.
        tokens: Of a row with its image tokens, the same for all rows.
        size: Height and width of the images, to which masks are brought.
    """

    images: int
    rows: int
    tokens: int
    size: tuple[int, int]


def image_inputs(model: LISA) -> tuple[str, Any, int]:
    """Vision inputs of one image: their key in a sample, the inputs on the default device, and the number of image tokens."""
    mllm = model.mllm
    if not mllm.tokens_by_image:
        side = mllm.preprocess['crop_size']
        pixels = torch.zeros(3, side['height'], side['width'], dtype=torch.uint8)
        return 'pixel_values', pixels, mllm.num_image_tokens(0, 0)
    vision = mllm.model.config.vision_config
    merge = getattr(vision, 'spatial_merge_size', None)
    if merge:  # Qwen-VL: as many patches as the processor's limit of pixels lets through
        unit = vision.patch_size * merge
        side = max(1, int((_longest_edge(mllm.preprocess) / unit**2) ** 0.5))
        grid = torch.tensor([[1, side * merge, side * merge]], device='cpu')
        patches = int(grid.prod())
        features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return 'image_inputs', {'pixel_values': torch.zeros(patches, features), 'image_grid_thw': grid}, side * side
    size, patch = (value if isinstance(value, int) else value[0] for value in (vision.image_size, vision.patch_size))
    config = mllm.model.config
    if getattr(config, 'image_grid_pinpoints', None):
        return 'image_inputs', *_tiled(mllm.model, size, (size // patch) ** 2)
    tokens = getattr(config, 'image_seq_length', None) or getattr(config, 'mm_tokens_per_image', None) or (size // patch) ** 2
    return 'image_inputs', {'pixel_values': torch.zeros(1, 3, size, size)}, tokens


def _tiled(model: Any, size: int, tile_tokens: int) -> tuple[dict[str, torch.Tensor], int]:
    """LLaVA-NeXT and LLaVA-OneVision: inputs and tokens of the image that has the most tiles."""
    height, width = max(model.config.image_grid_pinpoints, key=lambda sides: sides[0] * sides[1])
    tiles = 1 + (height // size) * (width // size)  # the first shows the whole image
    sizes = torch.tensor([[height, width]], device='cpu')
    # padding is taken out and line ends are put in: the model itself says how many tokens that leaves
    arguments: dict[str, Any] = dict(image_newline=torch.zeros(1, device='meta'))
    if model.config.model_type == 'llava_next':
        arguments['vision_feature_select_strategy'] = model.config.vision_feature_select_strategy
    packed, _ = model.base_model.pack_image_features([torch.zeros(tiles, tile_tokens, 1, device='meta')], sizes, **arguments)
    return {'pixel_values': torch.zeros(1, tiles, 3, size, size), 'image_sizes': sizes}, len(packed[0])


def _longest_edge(preprocess: dict[str, Any]) -> int:
    options = preprocess.get('image_options') or {}
    size = options.get('size') or {}
    return int(options.get('max_pixels') or size.get('longest_edge') or 12845056)  # the last is Qwen2-VL's own


def sample_item(model: LISA, shape: BatchShape, index: int = 0) -> dict[str, Any]:
    """One item as the end of a pipeline gives it; ids are real, images and masks are on the default device.

    Args:
        model: A LISA; its widths and the id of ``[SEG]`` are used.
        shape: Of the batch.
        index: Names the sample.
    """
    key, seen, image_tokens = image_inputs(model)
    if shape.tokens < image_tokens + ANSWER + 2:
        raise ValueError(f'{shape.tokens} tokens of a row leave no room beside {image_tokens} image tokens')
    ids = torch.full((shape.tokens,), 6, device='cpu')
    ids[1 : 1 + image_tokens] = IMAGE_TOKEN_ID
    ids[-3] = model.seg_token_id
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
        own[1 + image_tokens] += row  # other questions: what rows have in common may be calculated once
    inputs = {key: seen, 'mask_image': torch.zeros(3, side, side, dtype=torch.uint8), 'rows': rows}
    return {'inputs': inputs, 'data_sample': sample}
