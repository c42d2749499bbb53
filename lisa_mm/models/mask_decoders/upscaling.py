"""Mask logits at the size of the original image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Size = tuple[int, int]  # height and width in pixels


def upscale_masks(logits: Tensor, square: int | None, resized: Size, original: Size) -> Tensor:
    """Interpolate mask logits to the original size, as the release does: to the padded square, cropped, to the image.

    Args:
        logits: (K, h, w).
        square: Side of the square that the image was padded to; None if it was squashed to it, which leaves no padding.
        resized: Size of the image in the square.
        original: Size of the original image.

    Returns:
        (K, H, W) float32.
    """
    if not len(logits):
        return logits.new_zeros((0, *original), dtype=torch.float32)
    return _Upscaling.apply(logits.float(), square, resized, original)


def _interpolate(maps: Tensor, square: Size | None, resized: Size, original: Size) -> Tensor:
    full = maps[:, None]
    if square is not None:
        full = F.interpolate(full, square, mode='bilinear', align_corners=False)[..., : resized[0], : resized[1]]
    return F.interpolate(full, original, mode='bilinear', align_corners=False)[:, 0]


class _Upscaling(torch.autograd.Function):
    """Interpolation, with a gradient by two matrix products.

    Interpolation is linear in the rows and in the columns: rows (H, h) x logits (h, w) x columns (w, W). The gradient by these
    matrices needs no map of the forward, and is the same each time on a GPU too, where that of interpolation is not.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, square: int | None, resized: Size, original: Size) -> Tensor:
        ctx.sizes, ctx.given = (square, resized, original), logits.shape[1:]
        return _interpolate(logits, None if square is None else (square, square), resized, original)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides names
        (square, resized, original), (height, width) = ctx.sizes, ctx.given
        (gradient,) = gradients
        rows = _matrix(height, square, resized[0], original[0], gradient)  # (H, h)
        columns = _matrix(width, square, resized[1], original[1], gradient)  # (W, w)
        return rows.T @ (gradient @ columns), None, None, None


def _matrix(given: int, square: int | None, resized: int, original: int, like: Tensor) -> Tensor:
    """The interpolation of one axis, (original, given)."""
    identity = like.new_zeros(given, given).fill_diagonal_(1)
    steps = None if square is None else (square, given)
    return _interpolate(identity[None], steps, (resized, given), (original, given))[0]
