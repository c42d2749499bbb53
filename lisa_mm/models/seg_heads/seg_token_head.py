"""The text projection of LISA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...registry import SEG_HEADS
from ..base import BaseSegHead
from ..prompt_positions import PromptPositions
from ..weights import compare_part, load_part


@SEG_HEADS.register_module()
class SegTokenHead(BaseSegHead):
    """Linear, ReLU, Linear, Dropout over the state of each mask token, ``[SEG]`` (LISA's ``text_hidden_fcs``).

    Args:
        in_channels: Width of the LLM's states (derived).
        prompt_dim: Width of a prompt embedding of the mask decoder (derived).
        state: ``'predicting'`` takes the state before ``[SEG]``, which predicts it (as in LISA); ``'at'`` takes its own state.
        dropout: Dropout probability after the second layer.
        init_gain: Factor on the second layer's random weights. If head and mask decoder are trained from scratch together,
            nearly equal prompts teach the decoder to ignore them; with a pretrained decoder, leave it at 1.
        pretrained: A safetensors or torch file with the part's weights.
        frozen: If True, the head gets no gradient.

    Shapes:
        hidden_states (R, L, D) float, input_ids (R, L) int64 -> R tensors (K_i, prompt_dim); K_i may be 0.

    Raises:
        ConfigError: for an unknown ``state``.
        ValueError: if a row begins with ``[SEG]`` and ``state='predicting'``: nothing predicts it.
    """

    def __init__(
        self,
        in_channels: int,
        prompt_dim: int,
        *,
        state: str = 'predicting',
        dropout: float = 0.0,
        init_gain: float = 1.0,
        pretrained: str | None = None,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        if state not in ('predicting', 'at'):
            raise ConfigError(f"seg_head.state is {state!r}; allowed: 'predicting' (as LISA), 'at'.")
        if not 0 <= dropout <= 1:
            raise ConfigError(f'model.seg_head.dropout is {dropout}; give a share from 0 to 1.')
        self.state = state
        last = nn.Linear(in_channels, prompt_dim)
        with torch.no_grad():
            last.weight *= init_gain
        self.projection = nn.Sequential(nn.Linear(in_channels, in_channels), nn.ReLU(), last, nn.Dropout(dropout))
        self.pretrained = pretrained

    def load_pretrained(self) -> None:
        load_part(self, self.pretrained)

    def check_pretrained(self) -> None:
        compare_part(self, self.pretrained)

    def positions(self, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> Tensor:
        """(row, position) of each state to take, (K, 2), in row-major order."""
        found = PromptPositions.of(input_ids, tokens)
        if self.state == 'at':
            return torch.stack([found.row, found.position], dim=1)
        if found.earliest == 0:
            raise ValueError('a row begins with [SEG]: no state predicts it. Begin the row with another token.')
        return torch.stack([found.row, found.position - 1], dim=1)

    def forward(self, hidden_states: Tensor, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> list[Tensor]:
        found = PromptPositions.of(input_ids, tokens)
        row, position = self.positions(input_ids, found).unbind(1)
        prompts = self.projection(hidden_states[row, position])  # (K, prompt_dim)
        return list(prompts.split(found.counts))
