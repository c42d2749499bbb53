"""The common base of mask losses."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ...structures import SegDataSample
from ..base import BaseLoss
from ..batch import LossInputs


class MaskLoss(BaseLoss):
    """A loss on mask logits: the mean over the masks of the batch, as in LISA (sum / (number of masks + 1e-8))."""

    @abstractmethod
    def mask_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the K masks of an image.

        Args:
            logits: (K, H, W), K > 0.
            targets: (K, H, W) in [0, 1].
        """

    def forward(self, outputs: LossInputs, data_samples: list[SegDataSample]) -> Tensor:
        """The mean over the batch's masks; 0 for a batch without masks."""
        pairs = zip(outputs['mask_logits'], outputs['mask_targets'], strict=True)
        values = [self.mask_loss(logits, targets) * len(targets) for logits, targets in pairs if len(targets)]
        if not values:
            return outputs['hidden_states'].new_zeros((), dtype=torch.float32)
        return torch.stack(values).sum() / (sum(map(len, outputs['mask_targets'])) + 1e-8)
