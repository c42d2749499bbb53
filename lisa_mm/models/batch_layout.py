"""Where things lie in a batch, worked out on the host so that a step need not wait for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..tokens import IGNORE_INDEX, IMAGE_TOKEN_ID
from .movable import Movable
from .prompt_positions import PromptPositions
from .shared_prefix import SharedRows, share_rows


@dataclass(frozen=True)
class BatchLayout(Movable):
    """What the host knows of a batch with R rows of L tokens.

    Args:
        input_ids: (R, L), those it was made from.
        lengths: Tokens of each row, without padding.
        image_of_row: Which image a row is about; -1 for none.
        image_tokens: How many places of each row image tokens take.
        image_places: (M,) int64, row * L + position of each image token.
        images_shown: (n,) int64, the image of each row that has image tokens.
        prompts: Where the mask tokens lie.
        label_places: (T,) int64, row * L + position of each state that predicts a token with loss.
        labels: (T,) int64, these tokens.
        shared: The rows of each image joined, for a language model with ``share_prefix``.
    """

    input_ids: Tensor
    lengths: list[int]
    image_of_row: list[int]
    image_tokens: list[int]
    image_places: Tensor
    images_shown: Tensor
    prompts: PromptPositions
    label_places: Tensor
    labels: Tensor
    shared: SharedRows | None

    @classmethod
    def of(cls, inputs: Mapping[str, Any], mask_token_ids: Sequence[int], *, share_prefix: bool = False) -> BatchLayout:
        """Look at a batch.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and ``image_index``, with ``labels`` where there are any, see
                :class:`lisa_mm.models.lisa.LISA`. The host waits for tensors that are on a device.
            mask_token_ids: Ids of the tokens that become masks.
            share_prefix: Also join the rows of each image.
        """
        ids, attended, images = (inputs[name].cpu() for name in ('input_ids', 'attention_mask', 'image_index'))
        labels = inputs['labels'].cpu() if 'labels' in inputs else ids.new_full(ids.shape, IGNORE_INDEX)
        is_image = ids == IMAGE_TOKEN_ID
        row, position = (labels[:, 1:] != IGNORE_INDEX).nonzero().unbind(1)  # what predicts a token stands one before it
        found = cls(
            input_ids=ids,
            lengths=attended.sum(1).tolist(),
            image_of_row=images.tolist(),
            image_tokens=is_image.sum(1).tolist(),
            image_places=is_image.flatten().nonzero().flatten(),
            images_shown=images[is_image.any(1)],
            prompts=PromptPositions.of(ids, mask_token_ids),
            label_places=row * ids.shape[1] + position,
            labels=labels[row, position + 1],
            shared=share_rows(ids, attended, images) if share_prefix else None,
        )
        return found.beside(inputs['input_ids'])

    def beside(self, input_ids: Tensor) -> BatchLayout:
        """The same for a copy of the ids on another device."""
        device = input_ids.device
        return replace(self.to(device, pin=device.type == 'cuda' and torch.cuda.is_available()), input_ids=input_ids)

    @property
    def rows_with_image(self) -> list[int]:
        """The rows that have image tokens."""
        return [row for row, count in enumerate(self.image_tokens) if count]


def layout_of(inputs: Mapping[str, Any], mask_token_ids: Sequence[int] = (), *, share_prefix: bool = False) -> BatchLayout:
    """The layout that came with a batch; one is made where it is absent or belongs to other ids."""
    layout = inputs.get('layout')
    if isinstance(layout, BatchLayout) and layout.input_ids is inputs['input_ids']:
        return layout
    return BatchLayout.of(inputs, mask_token_ids, share_prefix=share_prefix)
