"""Rows of an image with a common prefix, which goes through the language model once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens import IMAGE_TOKEN_ID
from .base import BaseLanguageModel, MLLMOutput
from .movable import Movable


@dataclass(frozen=True)
class SharedRows(Movable):
    """R rows as G sequences, one per image: the common prefix, then the rest of each row, which sees the prefix and itself.

    Args:
        row: (G, P) int64, the row that a token comes from.
        position: (G, P) int64, its position in that row.
        segment: (G, P) int64, 0 for the common prefix, 1 to n for the remainders of the rows, -1 for padding.
        place: (R, L) int64, the index of each row's token among the G * P; 0 for padding.
        group: The sequence of each row.
        slot: The number of each row in its sequence.
        shown: The row of each image that stands in the sequences, in their order: an image of the common prefix stands there
            once, one behind it once for each row.
    """

    row: Tensor
    position: Tensor
    segment: Tensor
    place: Tensor
    group: list[int]
    slot: list[int]
    shown: list[int]

    @property
    def is_shorter(self) -> bool:
        """Whether the sequences have fewer tokens than the rows, padding included; known to the host."""
        return self.row.numel() < self.place.numel()

    @property
    def mask(self) -> Tensor:
        """(G, 1, P, P) bool, which token sees which; padding sees only itself."""
        segment, position = self.segment, self.position
        seen = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
        mask = seen & (position[:, None, :] <= position[:, :, None]) & (segment >= 0)[:, None, :]
        mask = mask | torch.eye(segment.shape[1], dtype=torch.bool, device=segment.device)
        return mask[:, None]


def share_rows(input_ids: Tensor, attention_mask: Tensor, image_index: Tensor) -> SharedRows:
    """Join the rows of each image; a row about no image (-1) stays alone.

    Args:
        input_ids: (R, L), image placeholders included.
        attention_mask: (R, L), True for tokens, padding at the end.
        image_index: (R,), the image of each row.

    All three are on the CPU, and so is the result.
    """
    ids, (rows, width) = input_ids, input_ids.shape
    lengths = attention_mask.sum(1).tolist()
    integers = {'dtype': torch.long, 'device': ids.device}  # the default device may be another
    of_image: dict[int, list[int]] = {}
    for row, image in enumerate(image_index.tolist()):
        of_image.setdefault(image if image >= 0 else -1 - row, []).append(row)

    place = torch.zeros(rows, width, **integers)
    pieces = [_pieces(ids, lengths, members) for members in of_image.values()]
    longest = max(sum(end - begin for _, begin, end in piece) for piece in pieces)
    row_of = torch.zeros(len(pieces), longest, **integers)
    position = torch.zeros(len(pieces), longest, **integers)
    segment = torch.full((len(pieces), longest), -1, **integers)
    is_image = ids == IMAGE_TOKEN_ID
    shown = []
    for group, (piece, members) in enumerate(zip(pieces, of_image.values(), strict=True)):
        at = 0
        for number, (row, begin, end) in enumerate(piece):
            here = slice(at, at + end - begin)
            row_of[group, here] = row
            position[group, here] = torch.arange(begin, end, **integers)
            segment[group, here] = number
            if is_image[row, begin:end].any():
                shown.append(row)
            for owner in members if number == 0 else [row]:
                place[owner, begin:end] = torch.arange(group * longest + at, group * longest + at + end - begin, **integers)
            at = here.stop

    groups, slots = [0] * rows, [0] * rows
    for group, members in enumerate(of_image.values()):
        for slot, row in enumerate(members):
            groups[row], slots[row] = group, slot
    return SharedRows(row_of, position, segment, place, groups, slots, shown)


def _pieces(ids: Tensor, lengths: list[int], members: list[int]) -> list[tuple[int, int, int]]:
    """(row, begin, end) of the common prefix, then of the rest of each row."""
    shortest = min(lengths[row] for row in members)
    alike = (ids[members, :shortest] == ids[members[0], :shortest]).all(0).long()
    common = int(alike.cumprod(0).sum())
    return [(members[0], 0, common), *((row, common, lengths[row]) for row in members)]


def run_shared(model: BaseLanguageModel, embeds: Tensor, shared: SharedRows, keep: Tensor) -> MLLMOutput:
    """States and logits of the rows, as ``model(embeds, attention_mask, keep)`` gives them; padding states are arbitrary."""
    places = shared.place.flatten()[keep.flatten()]
    out = model(embeds[shared.row, shared.position], shared.mask, places, position_ids=shared.position)
    return MLLMOutput(out.hidden_states.flatten(0, 1)[shared.place], out.logits)
