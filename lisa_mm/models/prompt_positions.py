"""Positions of the tokens that become masks in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .movable import Movable


@dataclass(frozen=True)
class PromptPositions(Movable):
    """Positions of the K tokens that become masks, in row-major order.

    Args:
        row: (K,) int64, the row.
        position: (K,) int64, the position in the row.
        kind: (K,) int64, the index of the token in the list of mask tokens.
        counts: Number of mask tokens in each of the R rows.
        earliest: The smallest position; None if there is none.
    """

    row: Tensor
    position: Tensor
    kind: Tensor
    counts: list[int]
    earliest: int | None

    @classmethod
    def of(cls, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> PromptPositions:
        """Find the mask tokens.

        Args:
            input_ids: (R, L). The host waits for ids on a device.
            tokens: Ids of the mask tokens; known positions are returned unchanged.
        """
        if isinstance(tokens, PromptPositions):
            return tokens
        ids = input_ids.cpu()
        of_kind = torch.tensor([tokens] if isinstance(tokens, int) else list(tokens), device='cpu')
        matches = ids[..., None] == of_kind  # (R, L, kinds)
        row, position, kind = matches.nonzero().unbind(1)
        found = cls(row, position, kind, matches.sum((1, 2)).tolist(), int(position.min()) if len(position) else None)
        return found.to(input_ids.device)
