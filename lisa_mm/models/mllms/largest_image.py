"""The image that costs a whole model the most memory, according to its architecture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


def largest_image(model: PreTrainedModel, options: dict[str, Any]) -> tuple[dict[str, Tensor], int]:
    """Inputs of the largest image, and its number of tokens.

    Args:
        model: A transformers model of images and text.
        options: Options of its image processor, from the config.

    Returns:
        Inputs as the processor makes them, on the default device (sizes, which the model reads, on the CPU); number of tokens.
    """
    vision = model.config.vision_config
    merge = getattr(vision, 'spatial_merge_size', None)
    if merge:  # Qwen-VL: as many patches as the processor's pixel limit allows
        unit = vision.patch_size * merge
        side = max(1, int((_most_pixels(options) / unit**2) ** 0.5))
        grid = torch.tensor([[1, side * merge, side * merge]], device='cpu')
        features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return {'pixel_values': torch.zeros(int(grid.prod()), features), 'image_grid_thw': grid}, side * side
    size, patch = (value if isinstance(value, int) else value[0] for value in (vision.image_size, vision.patch_size))
    config = model.config
    if getattr(config, 'image_grid_pinpoints', None):
        return _tiled(model, size, (size // patch) ** 2)
    patches = (size // patch) ** 2
    if config.model_type == 'llava':  # image_seq_length is the published models' where a config leaves it out
        tokens = patches + (config.vision_feature_select_strategy == 'full')
    else:
        tokens = getattr(config, 'image_seq_length', None) or getattr(config, 'mm_tokens_per_image', None) or patches
    return {'pixel_values': torch.zeros(1, 3, size, size)}, tokens


def _tiled(model: Any, size: int, tile_tokens: int) -> tuple[dict[str, Tensor], int]:
    """LLaVA-NeXT and LLaVA-OneVision: the image with the most tiles."""
    height, width = max(model.config.image_grid_pinpoints, key=lambda sides: sides[0] * sides[1])
    tiles = 1 + (height // size) * (width // size)  # the first shows the whole image
    sizes = torch.tensor([[height, width]], device='cpu')
    # padding is removed and line ends are added: the model itself computes the number of tokens
    arguments: dict[str, Any] = dict(image_newline=torch.zeros(1, device='meta'))
    if model.config.model_type == 'llava_next':
        arguments['vision_feature_select_strategy'] = model.config.vision_feature_select_strategy
    packed, _ = model.base_model.pack_image_features([torch.zeros(tiles, tile_tokens, 1, device='meta')], sizes, **arguments)
    return {'pixel_values': torch.zeros(1, tiles, 3, size, size), 'image_sizes': sizes}, len(packed[0])


def _most_pixels(options: dict[str, Any]) -> int:
    size = options.get('size') or {}
    return int(options.get('max_pixels') or size.get('longest_edge') or 12845056)  # the last is Qwen2-VL's default
