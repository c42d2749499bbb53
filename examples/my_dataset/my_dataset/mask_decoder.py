"""A mask decoder with its image encoder: a mask covers the features similar to the prompt."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lisa_mm.models.base import BaseImageEncoder, BaseMaskDecoder, ImageEmbeddings, Part, TrainableGroup
from lisa_mm.registry import BACKBONES, MASK_DECODERS
from lisa_mm.structures import MaskImageSpec


@BACKBONES.register_module()
class ConvEncoder(BaseImageEncoder):
    """Three convolutions; one feature covers 4 x 4 pixels.

    Args:
        image_size: Side of the square in pixels.
        out_channels: Channels of the features.
        frozen: If True, the encoder gets no gradient.

    Shapes:
        (B, 3, image_size, image_size) -> features (B, out_channels, image_size / 4, image_size / 4)
    """

    def __init__(self, *, image_size: int = 64, out_channels: int = 32, frozen: bool = False):
        super().__init__(frozen=frozen)
        self.image_size, self.patch_size, self._out_channels = image_size, 4, out_channels
        self.layers = nn.Sequential(
            nn.Conv2d(3, out_channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    @property
    def out_channels(self) -> int:
        return self._out_channels

    def forward(self, pixels: Tensor) -> ImageEmbeddings:
        return ImageEmbeddings(self.layers(pixels), {})


@MASK_DECODERS.register_module()
class DotProductDecoder(BaseMaskDecoder):
    """Mask logits are products of a prompt with the features of each place.

    Args:
        image_encoder: ``dict(type='ConvEncoder')`` or another image encoder.
        frozen: If True, the decoder gets no gradient; the image encoder has a key of its own.
    """

    def __init__(self, image_encoder: dict[str, Any], *, frozen: bool = False):
        super().__init__(frozen=frozen)
        self.image_encoder: BaseImageEncoder = BACKBONES.build(image_encoder)
        self.bias = nn.Parameter(torch.full((1,), -1.0))  # most pixels are outside the mask

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        return {**super().trainable_groups(), 'image_encoder': self.image_encoder}

    @property
    def prompt_dim(self) -> int:
        return self.image_encoder.out_channels

    @property
    def preprocess(self) -> MaskImageSpec:
        numbers = (127.5, 127.5, 127.5)
        return {'image_size': self.image_encoder.image_size, 'mean': numbers, 'std': numbers, 'resize': 'squash'}

    def encode_image(self, pixels: Tensor) -> ImageEmbeddings:
        return self.image_encoder(pixels)

    def forward(self, embeddings: ImageEmbeddings, prompts: list[Tensor]) -> list[Tensor]:
        pairs = zip(prompts, embeddings.features, strict=True)
        return [torch.einsum('kc,chw->khw', prompt, features) + self.bias for prompt, features in pairs]

    def upscale(self, logits: Tensor, resized_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        if not len(logits):
            return logits.new_zeros((0, *original_size), dtype=torch.float32)
        return F.interpolate(logits[:, None].float(), original_size, mode='bilinear', align_corners=False)[:, 0]
