"""Cross entropy over the tokens of the answer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...registry import LOSSES
from ..base import BaseLoss


@LOSSES.register_module()
class CrossEntropyLoss(BaseLoss):
    """Mean over all tokens that carry loss in the batch, in float32.

    Shapes:
        logits (T, V) float, targets (T,) int64 -> scalar; 0 (with a gradient path) for T = 0.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.numel() == 0:
            return logits.float().sum() * 0
        return F.cross_entropy(logits.float(), targets)
