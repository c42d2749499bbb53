"""Binary cross entropy over mask logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...registry import LOSSES
from .mask_loss import MaskLoss


@LOSSES.register_module()
class MaskBCELoss(MaskLoss):
    """Mean BCE over the pixels of a mask, then over the masks of an image (LISA, CVPR 2024).

    Shapes:
        logits (K, H, W) float, computed in float32, targets (K, H, W) in [0, 1] -> scalar; K > 0.
    """

    def mask_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float())
