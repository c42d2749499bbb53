"""Dice loss with LISA's scaling."""

from __future__ import annotations

from torch import Tensor

from ...registry import LOSSES
from .mask_loss import MaskLoss


@LOSSES.register_module()
class MaskDiceLoss(MaskLoss):
    """1 - (2 sum(p t / s) + eps) / (sum(p / s) + sum(t / s) + eps), p = sigmoid(logits), mean over the masks (LISA, CVPR 2024).

    Args:
        weight: Factor that the value is multiplied by.
        scale: s above; keeps the sums small in low precision.
        eps: Makes the loss 0 for an empty mask predicted as empty.

    Shapes:
        logits (K, H, W) float, computed in float32, targets (K, H, W) in [0, 1] -> scalar; K > 0.
    """

    def __init__(self, weight: float = 1.0, *, scale: float = 1000.0, eps: float = 1e-6):
        super().__init__(weight)
        self.scale = scale
        self.eps = eps

    def mask_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        # sums over a million pixels exceed half precision
        p = logits.float().sigmoid().flatten(1)
        t = targets.float().flatten(1)
        numerator = 2 * (p / self.scale * t).sum(-1)
        denominator = (p / self.scale).sum(-1) + (t / self.scale).sum(-1)
        return (1 - (numerator + self.eps) / (denominator + self.eps)).mean()
