"""A seg head: turns [SEG] states into prompts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lisa_mm.models.base import BaseSegHead
from lisa_mm.models.prompt_positions import PromptPositions
from lisa_mm.registry import SEG_HEADS


@SEG_HEADS.register_module()
class NormedSegHead(BaseSegHead):
    """A norm and one linear layer over each mask token's own state.

    Args:
        in_channels: Width of the language model's states (derived).
        prompt_dim: Width of a prompt of the mask decoder (derived).
        frozen: If True, the head gets no gradient.
    """

    def __init__(self, in_channels: int, prompt_dim: int, *, frozen: bool = False):
        super().__init__(frozen=frozen)
        self.layers = nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, prompt_dim))

    def forward(self, hidden_states: Tensor, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> list[Tensor]:
        found = PromptPositions.of(input_ids, tokens)
        prompts = self.layers(hidden_states[found.row, found.position])  # (K, prompt_dim)
        return list(prompts.split(found.counts))
