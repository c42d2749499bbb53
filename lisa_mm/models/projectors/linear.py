"""The projector of LLaVA v1."""

from __future__ import annotations

from torch import Tensor, nn

from ...registry import PROJECTORS
from ..base import BaseProjector
from ..weights import compare_part
from .loading import load_projector


@PROJECTORS.register_module()
class LinearProjector(BaseProjector):
    """One linear layer (LLaVA v1).

    Args:
        in_channels: Width of the vision tower (derived).
        out_channels: Width of the LLM (derived).
        pretrained: A file with the part's weights, a LLaVA folder that contains them, or None for random ones.
        frozen: If True, the projector gets no gradient, as in the published recipe.

    Shapes:
        (B, N, in_channels) -> (B, N, out_channels)
    """

    def __init__(self, in_channels: int, out_channels: int, *, pretrained: str | None = None, frozen: bool = True):
        super().__init__(frozen=frozen)
        self.linear = nn.Linear(in_channels, out_channels)
        self.pretrained = pretrained

    def load_pretrained(self) -> None:
        load_projector(self, self.pretrained, 'linear.')

    def check_pretrained(self) -> None:
        compare_part(self, self.pretrained)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)
