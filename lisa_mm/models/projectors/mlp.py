"""The projector of LLaVA 1.5."""

from __future__ import annotations

from torch import Tensor, nn

from ...registry import PROJECTORS
from ..base import BaseProjector
from ..weights import compare_part
from .loading import load_projector


@PROJECTORS.register_module()
class MLPProjector(BaseProjector):
    """Linear layers with GELU between them (LLaVA 1.5: ``depth=2``).

    Args:
        in_channels: Width of the vision tower (derived).
        out_channels: Width of the LLM (derived).
        depth: Number of linear layers.
        pretrained: A file with the part's weights, a LLaVA folder that contains them, or None for random ones.
        frozen: If True, the projector gets no gradient, as in the published recipe.

    Shapes:
        (B, N, in_channels) -> (B, N, out_channels)
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, depth: int = 2, pretrained: str | None = None, frozen: bool = True
    ):
        super().__init__(frozen=frozen)
        layers: list[nn.Module] = [nn.Linear(in_channels, out_channels)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(out_channels, out_channels)]
        self.layers = nn.Sequential(*layers)
        self.pretrained = pretrained

    def load_pretrained(self) -> None:
        load_projector(self, self.pretrained, 'layers.')

    def check_pretrained(self) -> None:
        compare_part(self, self.pretrained)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)
