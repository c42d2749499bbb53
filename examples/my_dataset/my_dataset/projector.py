"""A projector: its two widths are derived, a config leaves them out."""

from __future__ import annotations

from torch import Tensor, nn

from lisa_mm.models.base import BaseProjector
from lisa_mm.registry import PROJECTORS


@PROJECTORS.register_module()
class GatedProjector(BaseProjector):
    """Linear with a sigmoid gate.

    Shapes:
        (B, N, in_channels) -> (B, N, out_channels)
    """

    def __init__(self, in_channels: int, out_channels: int, *, frozen: bool = False):
        super().__init__(frozen=frozen)
        self.value = nn.Linear(in_channels, out_channels)
        self.gate = nn.Linear(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.value(features) * self.gate(features).sigmoid()
