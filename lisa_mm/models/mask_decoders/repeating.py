"""Image features, repeated for the prompts of each image."""

from __future__ import annotations

import torch
from torch import Tensor


def for_prompts(features: Tensor, counts: list[int]) -> Tensor:
    """Repeat the features of each image for its prompts: (B, C, h, w), B counts -> (K, C, h, w)."""
    if all(count == 1 for count in counts):
        return features
    if len(features) == 1:
        return features.expand(counts[0], -1, -1, -1)  # a view
    return torch.cat([image.expand(count, -1, -1, -1) for image, count in zip(features.split(1), counts, strict=True)])
