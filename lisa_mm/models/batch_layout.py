"""Positions of tokens in a batch, found on the host so that a step need not wait for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..tokens import IGNORE_INDEX, IMAGE_TOKEN_ID
from .batch import ModelInputs
from .movable import Movable
from .prompt_positions import PromptPositions
from .shared_prefix import SharedRows, share_rows


@dataclass(frozen=True)
class BatchLayout(Movable):
    """The host's knowledge of a batch with R rows of L tokens.

    Args:
        input_ids: (R, L), the ids that the layout was made from.
        lengths: Number of tokens of each row, without padding.
        image_of_row: The image that each row is about; -1 for none.
        image_tokens: Number of image tokens in each row.
        image_places: (M,) int64, row * L + position of each image token.
        images_shown: (n,) int64, the image of each row that has image tokens.
        prompts: Positions of the mask tokens.
        label_places: (T,) int64, row * L + position of each state that predicts a token with loss.
        labels: (T,) int64, the ids of these tokens.
        shared: The rows of each image joined: for a language model with ``share_prefix``, and for answers.
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
    def of(cls, inputs: ModelInputs, mask_token_ids: Sequence[int], *, share_prefix: bool = False) -> BatchLayout:
        """Find the layout of a batch.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and ``image_index``, with ``labels`` where there are any, see
                :class:`lisa_mm.models.batch.ModelInputs`. The host waits for tensors on a device.
            mask_token_ids: Ids of the tokens that become masks.
            share_prefix: Also join the rows of each image; done in any case for prompts, which have no labels.
        """
        ids, attended, images = (inputs[name].cpu() for name in ('input_ids', 'attention_mask', 'image_index'))
        labels = inputs['labels'].cpu() if 'labels' in inputs else ids.new_full(ids.shape, IGNORE_INDEX)
        is_image = ids == IMAGE_TOKEN_ID
        row, position = (labels[:, 1:] != IGNORE_INDEX).nonzero().unbind(1)  # a token is predicted one position before it
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
            shared=share_rows(ids, attended, images) if share_prefix or 'labels' not in inputs else None,
        )
        return found.beside(inputs['input_ids'])

    def beside(self, input_ids: Tensor) -> BatchLayout:
        """The same layout for a copy of the ids on another device."""
        device = input_ids.device
        return replace(self.to(device, pin=device.type == 'cuda' and torch.cuda.is_available()), input_ids=input_ids)

    @property
    def rows_with_image(self) -> list[int]:
        """The rows that have image tokens."""
        return [row for row, count in enumerate(self.image_tokens) if count]


def layout_of(inputs: ModelInputs, mask_token_ids: Sequence[int] = (), *, share_prefix: bool = False) -> BatchLayout:
    """The layout that came with a batch; if it is absent or belongs to other ids, a new one."""
    layout = inputs.get('layout')
    if isinstance(layout, BatchLayout) and layout.input_ids is inputs['input_ids']:
        return layout
    return BatchLayout.of(inputs, mask_token_ids, share_prefix=share_prefix)


def rows_to_share(inputs: ModelInputs) -> SharedRows | None:
    """The rows of each image joined, for a model with ``share_prefix``; None if that saves no token."""
    shared = layout_of(inputs, share_prefix=True).shared
    assert shared is not None, 'the layout was made for a model without share_prefix'
    return shared if shared.is_shorter else None
