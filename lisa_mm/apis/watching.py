"""What a batch says, token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

UNFINISHED = '\ufffd'  # how a decoder shows the first bytes of a letter


@dataclass(frozen=True)
class Listeners:
    """What is called while a batch is answered, with the number of the request first.

    Args:
        text: A further piece of its text.
        mask: (request, index among the answer's own masks, logits (H, W)), as soon as its ``[SEG]`` is said; for heads that take
            the state which predicts ``[SEG]``.
        is_cancelled: Whether its answer is no longer wanted.
    """

    text: Callable[[int, str], object] | None = None
    mask: Callable[[int, int, Tensor], object] | None = None
    is_cancelled: Callable[[int], bool] | None = None


class Watcher:
    """Follows the rows of a batch; called with the tokens of each step and the states that predicted them.

    Args:
        places: Of each row, the number of its request.
        listeners: What is called.
        stops: Ids that end an answer.
        limits: The number of tokens at which each row ends.
        mask_tokens: Ids of the tokens that become masks.
        decode: Ids -> text.
        mask_of: (row, states (n, D), ids (n + 1,)) -> logits (H, W) of the last id, a mask token; None leaves masks to the end.
    """

    def __init__(
        self,
        places: Sequence[int],
        listeners: Listeners,
        *,
        stops: Collection[int],
        limits: Sequence[int],
        mask_tokens: Collection[int],
        decode: Callable[[list[int]], str],
        mask_of: Callable[[int, Tensor, Tensor], Tensor] | None = None,
    ):
        self.places, self.listeners = list(places), listeners
        self.stops, self.limits, self.mask_tokens = set(stops), list(limits), set(mask_tokens)
        self.decode, self.mask_of = decode, mask_of
        rows = len(self.places)
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.states: list[list[Tensor]] = [[] for _ in range(rows)]
        self.said = [''] * rows
        self.masks = [0] * rows
        self.ended = [False] * rows

    def __call__(self, tokens: Tensor, states: Tensor) -> None:
        for row, token in enumerate(tokens.tolist()):
            if self.ended[row]:
                continue
            self.ids[row].append(token)
            self.states[row].append(states[row])
            self.ended[row] = token in self.stops or len(self.ids[row]) >= self.limits[row]
            self._tell_text(row)
            if token in self.mask_tokens:
                self._tell_mask(row)

    def _tell_text(self, row: int) -> None:
        if self.listeners.text is None:
            return
        text = self.decode(self.ids[row])
        if text.endswith(UNFINISHED) and not self.ended[row]:
            return
        more = text[len(self.said[row]) :]
        if more:
            self.said[row] = text
            self.listeners.text(self.places[row], more)

    def _tell_mask(self, row: int) -> None:
        if self.listeners.mask is None or self.mask_of is None:
            return
        states = torch.stack(self.states[row])
        # the id before the answer is not looked at; 0 is no mask token
        ids = torch.tensor([0, *self.ids[row]], device=states.device)
        self.listeners.mask(self.places[row], self.masks[row], self.mask_of(row, states, ids))
        self.masks[row] += 1


def excerpt(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """A row (1, n + 1) of answer ids after one other, with their states; that of the last id, unknown yet, is 0."""
    padded: Any = torch.cat([states, states.new_zeros(1, states.shape[1])])
    return padded[None], ids[None]
