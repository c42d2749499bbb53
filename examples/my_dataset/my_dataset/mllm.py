"""A multimodal LLM of another composition: a quarter of the image tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lisa_mm.models.mllms import LlavaMLLM
from lisa_mm.registry import MLLMS


@MLLMS.register_module()
class PooledLlava(LlavaMLLM):
    """LLaVA whose projected features are averaged over squares of 2 x 2 patches.

    The parts are those of :class:`lisa_mm.models.mllms.LlavaMLLM`; the vision tower's patches make a square of even side.
    """

    def num_image_tokens(self, height: int, width: int) -> int:
        return super().num_image_tokens(height, width) // 4

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        tokens = super().encode_image(pixel_values)  # (B, N, D)
        side = int(tokens.shape[1] ** 0.5)
        square = tokens.transpose(1, 2).unflatten(2, (side, side))
        return F.avg_pool2d(square, 2).flatten(2).transpose(1, 2)  # (B, N / 4, D)
