"""Where the tokens that become masks lie in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .movable import Movable


@dataclass(frozen=True)
class PromptPositions(Movable):
    """Where the tokens that become masks lie, K of them in row-major order.

    Args:
        row: (K,) int64.
        position: (K,) int64, in the row.
        kind: (K,) int64, which of the mask tokens it is, by its place in their list.
        counts: How many each of the R rows has.
        earliest: The smallest position; None without any.
    """

    row: Tensor
    position: Tensor
    kind: Tensor
    counts: list[int]
    earliest: int | None

    @classmethod
    def of(cls, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> PromptPositions:
        """Find them.

        Args:
            input_ids: (R, L). The host waits for ids that are on a device.
            tokens: Ids of the mask tokens; positions that are known already are returned.
        """
        if isinstance(tokens, PromptPositions):
            return tokens
        ids = input_ids.cpu()
        of_kind = torch.tensor([tokens] if isinstance(tokens, int) else list(tokens), device='cpu')
        matches = ids[..., None] == of_kind  # (R, L, kinds)
        row, position, kind = matches.nonzero().unbind(1)
        found = cls(row, position, kind, matches.sum((1, 2)).tolist(), int(position.min()) if len(position) else None)
        return found.to(input_ids.device)
