"""The image encoder of Segment Anything."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from ...errors import ConfigError, nearest
from ...registry import BACKBONES
from ..base import BaseImageEncoder, ImageEmbeddings
from ..weights import is_trained
from .sam_attention import FusedAttention

PATCHES_AT_ONCE = 64**2  # on a CPU without gradients, where more at once takes memory and saves no time

# Widths of the released models (segment_anything/build_sam.py)
VARIANTS = {
    'vit_b': dict(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    'vit_l': dict(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    'vit_h': dict(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
}


@BACKBONES.register_module()
class SAMImageEncoder(BaseImageEncoder):
    """The ViT of Segment Anything, built from the released package.

    Args:
        variant: ``'vit_b'``, ``'vit_l'``, ``'vit_h'``, or None with the widths below.
        image_size: Side of the padded square in pixels.
        patch_size: Side of a patch in pixels.
        out_channels: Channels of the features; also the width of the mask decoder's prompts.
        window_size: Side of a local attention window in patches.
        embed_dim: Width; replaces ``variant`` together with ``depth``, ``num_heads`` and ``global_attn_indexes``.
        depth: Number of blocks.
        num_heads: Attention heads per block.
        global_attn_indexes: Blocks that attend to the whole image.
        frozen: If True, it gets no gradient and runs outside the graph.

    Shapes:
        (B, 3, image_size, image_size) -> features (B, out_channels, image_size / patch, image_size / patch)
    """

    def __init__(
        self,
        variant: str | None = None,
        *,
        image_size: int = 1024,
        patch_size: int = 16,
        out_channels: int = 256,
        window_size: int = 14,
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        global_attn_indexes: tuple[int, ...] | None = None,
        frozen: bool = True,
    ):
        super().__init__(frozen=frozen)
        widths = dict(embed_dim=embed_dim, depth=depth, num_heads=num_heads, global_attn_indexes=global_attn_indexes)
        given: dict[str, Any] = {key: value for key, value in widths.items() if value is not None}
        if variant is not None:
            if variant not in VARIANTS:
                raise ConfigError(f'image_encoder.variant {variant!r} is unknown.{nearest(variant, VARIANTS)}')
            if given:
                raise ConfigError(f'image_encoder: give variant={variant!r} or {sorted(given)}, not both.')
            given = dict(VARIANTS[variant])
        elif len(given) < len(widths):
            raise ConfigError(f"image_encoder: give variant ('vit_b', 'vit_l', 'vit_h') or all of {sorted(widths)}.")
        faults = size_faults(image_size, patch_size, window_size, **given)
        if faults:
            raise ConfigError(faults)
        self.image_size = image_size
        self.patch_size = patch_size
        self._out_channels = out_channels
        self.vit = ImageEncoderViT(
            img_size=image_size,
            patch_size=patch_size,
            out_chans=out_channels,
            window_size=window_size,
            mlp_ratio=4,
            qkv_bias=True,
            use_rel_pos=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType] - SAM's own way
            **given,
        )
        grid = image_size // patch_size
        for block in self.vit.blocks:
            side = block.window_size or grid  # 0: the whole image
            width, heads = given['embed_dim'], given['num_heads']
            block.attn = FusedAttention(width, heads, qkv_bias=True, use_rel_pos=True, input_size=(side, side))  # pyright: ignore[reportArgumentType] - torch types attributes as tensors

    @property
    def out_channels(self) -> int:
        return self._out_channels

    def forward(self, pixels: Tensor) -> ImageEmbeddings:
        pixels = pixels.to(self.vit.patch_embed.proj.weight.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(self)):
            if torch.is_grad_enabled() or pixels.device.type != 'cpu':
                return ImageEmbeddings(self.vit(pixels), {})
            at_once = max(1, PATCHES_AT_ONCE // (self.image_size // self.patch_size) ** 2)
            features = [self.vit(images) for images in pixels.split(at_once)]
            return ImageEmbeddings(torch.cat(features) if len(features) > 1 else features[0], {})


def size_faults(
    image_size: int,
    patch_size: int,
    window_size: int,
    *,
    embed_dim: int,
    depth: int,
    num_heads: int,
    global_attn_indexes: tuple[int, ...],
) -> list[str]:
    """Faults of sizes that do not fit together."""
    where, faults = 'model.mask_decoder.image_encoder', []
    if patch_size < 1 or image_size < 1 or image_size % patch_size:
        down = max(image_size // max(patch_size, 1), 1) * max(patch_size, 1)
        faults.append(
            f'{where}.image_size {image_size} is no multiple of patch_size {patch_size}. Give a multiple, e.g. image_size={down}.'
        )
    if num_heads < 1 or embed_dim % num_heads:
        faults.append(f'{where}.embed_dim {embed_dim} is no multiple of num_heads {num_heads}. Change one of them.')
    if window_size < 1:
        faults.append(f'{where}.window_size is {window_size}; give at least 1 (patches).')
    beyond = [index for index in global_attn_indexes if not 0 <= index < depth]
    if beyond:
        faults.append(
            f'{where}.global_attn_indexes {list(global_attn_indexes)} names block {beyond[0]}, but depth is {depth}: '
            f'give 0 to {depth - 1}.'
        )
    return faults
