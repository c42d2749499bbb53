"""A vision tower: a transformer over patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lisa_mm.models.base import BaseVisionTower
from lisa_mm.models.weights import compare_part, load_part
from lisa_mm.registry import BACKBONES
from lisa_mm.structures import TowerImageSpec


@BACKBONES.register_module()
class PatchTower(BaseVisionTower):
    """A small transformer over the patches of the whole image, squeezed into a square.

    Args:
        image_size: Side of the square in pixels.
        patch_size: Side of a patch in pixels; divides ``image_size``.
        width: Width of the features.
        depth: Number of layers.
        pretrained: A safetensors or torch file with the tower's weights, or None for random ones.
        frozen: If True, the tower gets no gradient.

    Shapes:
        (B, 3, image_size, image_size) -> (B, (image_size / patch_size)^2, width)
    """

    def __init__(
        self,
        *,
        image_size: int = 64,
        patch_size: int = 8,
        width: int = 64,
        depth: int = 2,
        pretrained: str | None = None,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        self.image_size, self.patch_size, self.width, self.pretrained = image_size, patch_size, width, pretrained
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.randn(1, self.num_tokens(image_size, image_size), width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def load_pretrained(self) -> None:
        load_part(self, self.pretrained)

    def check_pretrained(self) -> None:
        compare_part(self, self.pretrained)

    @property
    def out_channels(self) -> int:
        return self.width

    @property
    def preprocess(self) -> TowerImageSpec:
        return {
            'size': {'height': self.image_size, 'width': self.image_size},
            'crop_size': {'height': self.image_size, 'width': self.image_size},
            'do_center_crop': False,
            'resample': 3,
            'image_mean': (0.5, 0.5, 0.5),
            'image_std': (0.25, 0.25, 0.25),
        }

    def num_tokens(self, height: int, width: int) -> int:
        return (self.image_size // self.patch_size) ** 2

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(self.patches(pixels).flatten(2).transpose(1, 2) + self.positions)
