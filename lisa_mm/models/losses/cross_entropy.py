"""Cross entropy over the answer's tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...registry import LOSSES
from ...structures import SegDataSample
from ..base import BaseLoss
from ..batch import LossInputs


@LOSSES.register_module()
class CrossEntropyLoss(BaseLoss):
    """Mean cross entropy over all tokens of the batch that carry loss, in float32.

    Shapes:
        word_logits (T, V) float, word_targets (T,) int64 -> scalar; 0 (with a gradient path) for T = 0.
    """

    def forward(self, outputs: LossInputs, data_samples: list[SegDataSample]) -> Tensor:
        logits, targets = outputs['word_logits'], outputs['word_targets']
        if targets.numel() == 0:
            return logits.float().sum() * 0
        return F.cross_entropy(logits.float(), targets)
