"""The common base of mask losses."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...structures import SegDataSample
from ..base import BaseLoss
from ..batch import LossInputs
from ..full_size import FullSizeMaps, pieces


class MaskLoss(BaseLoss):
    """A loss on mask logits: the mean over the masks of the batch, as in LISA (sum / (number of masks + 1e-8))."""

    @abstractmethod
    def mask_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over K masks of an image, each alone: an image's masks may come in several calls.

        Args:
            logits: (K, H, W), K > 0.
            targets: (K, H, W) in [0, 1].
        """

    def forward(self, outputs: LossInputs, data_samples: list[SegDataSample]) -> Tensor:
        """The mean over the batch's masks; 0 for a batch without masks.

        Maps at the size of the image exist for a few masks at a time; backward computes them again.
        """
        logits, targets = FullSizeMaps.of(outputs['mask_logits']), FullSizeMaps.of(outputs['mask_targets'])

        def mean(image: int, logits_of: Tensor, targets_of: Tensor) -> Tensor:
            return self.mask_loss(logits.convert(image, logits_of), targets.convert(image, targets_of))

        values, count = [], 0
        for image, (own, masks) in enumerate(zip(logits.sources, targets.sources, strict=True)):
            if not len(masks):
                continue
            count += len(masks)
            for piece in pieces(masks.shape[1:], own, masks):
                values.append(checkpoint(mean, image, *piece, use_reentrant=False) * len(piece[0]))
        if not values:
            return outputs['hidden_states'].new_zeros((), dtype=torch.float32)
        return torch.stack(values).sum() / (count + 1e-8)
