"""The model's input batch and everything it computes from it, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from ..structures import CachedImages

if TYPE_CHECKING:
    from .base import ImageEmbeddings
    from .batch_layout import BatchLayout


class ModelInputs(TypedDict):
    """B images, R conversation rows, L tokens.

    Args:
        mask_images: (B, 3, M, M), input of the mask decoder; with ``cached``, of the images whose features were not found alone,
            absent if all were.
        input_ids: (R, L) int64, right padded; each image token is -200.
        attention_mask: (R, L) bool.
        image_index: (R,) int64, the image of each row. Rows of an image are adjacent, in the order of the data samples.
        labels: (R, L) int64, -100 where there is no loss; absent without targets.
        pixel_values: (B, 3, S, S), input of the vision tower; absent in a batch for a whole model. With ``cached`` as above.
        image_inputs: One dict of tensors per image, as a whole model's processor gives them.
        cached: Features that a feature cache had; absent without one.
        layout: Positions of the tokens that matter; the data preprocessor adds it.
    """

    mask_images: NotRequired[Tensor]
    input_ids: Tensor
    attention_mask: Tensor
    image_index: Tensor
    labels: NotRequired[Tensor]
    pixel_values: NotRequired[Tensor]
    image_inputs: NotRequired[list[dict[str, Tensor]]]
    cached: NotRequired[CachedImages]
    layout: NotRequired[BatchLayout]


class LowResOutputs(TypedDict):
    """The values of :meth:`lisa_mm.models.LISA.segment`, all but masks at the size of the image.

    Args:
        hidden_states: (R, L, D), the language model's last hidden states.
        word_logits: (T, V), for the T tokens that carry loss.
        word_targets: (T,) int64, the ids of these tokens.
        prompts: Prompt embeddings (K, C) of each image.
        image_embeddings: Embeddings of the images that have prompts; None if no image has any.
        low_res_logits: Mask logits (K, h, w) of each image.
        nothing: 0 with a gradient path to everything that a batch without masks does not reach; None elsewhere.
    """

    hidden_states: Tensor
    word_logits: Tensor
    word_targets: Tensor
    prompts: list[Tensor]
    image_embeddings: ImageEmbeddings | None
    low_res_logits: list[Tensor]
    nothing: Tensor | None


class ModelOutputs(LowResOutputs):
    """The values that :meth:`lisa_mm.models.LISA.tensor` returns; a subclass may add to them.

    Args:
        mask_logits: Mask logits (K, H, W) of each image, float32, at its original size. LISA computes them each time they
            are read (:class:`.full_size.FullSizeMaps`); ``low_res_logits`` are kept.
    """

    mask_logits: Sequence[Tensor]


class LossInputs(ModelOutputs):
    """The values that losses get.

    Args:
        mask_targets: Masks (K, H, W) of each image, float32, made from the integers each time they are read.
    """

    mask_targets: Sequence[Tensor]
