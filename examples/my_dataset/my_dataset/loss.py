"""A loss: mask logits and targets of one image in, an unweighted scalar out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lisa_mm.models.losses import MaskLoss
from lisa_mm.registry import LOSSES


@LOSSES.register_module()
class FocalMaskLoss(MaskLoss):
    """Focal loss of masks (Lin et al., ICCV 2017, without its alpha).

    Args:
        weight: Factor that the value is multiplied by.
        gamma: 0 is cross entropy; larger values weight easy pixels less.
    """

    def __init__(self, weight: float = 1.0, *, gamma: float = 2.0):
        super().__init__(weight)
        self.gamma = gamma

    def mask_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
        return ((1 - (-entropy).exp()) ** self.gamma * entropy).mean()
