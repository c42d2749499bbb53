"""A batch as the model gets it, and all that the model computes of it, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from typing_extensions import NotRequired, TypedDict

if TYPE_CHECKING:
    from .base import ImageEmbeddings
    from .batch_layout import BatchLayout


class ModelInputs(TypedDict):
    """B images, R conversation rows, L tokens.

    Args:
        mask_images: (B, 3, M, M), of the mask decoder.
        input_ids: (R, L) int64, right padded; each image token is -200.
        attention_mask: (R, L) bool.
        image_index: (R,) int64, which image a row talks about. Rows of an image stand together, in the order of the data samples.
        labels: (R, L) int64, -100 without loss; absent where there is nothing to learn.
        pixel_values: (B, 3, S, S), of the vision tower; absent in a batch for a whole model.
        image_inputs: A dict of the tensors of each image, as the processor of a whole model gives them.
        layout: Where things lie, which the data preprocessor adds.
    """

    mask_images: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    image_index: Tensor
    labels: NotRequired[Tensor]
    pixel_values: NotRequired[Tensor]
    image_inputs: NotRequired[list[dict[str, Tensor]]]
    layout: NotRequired[BatchLayout]


class ModelOutputs(TypedDict):
    """What :meth:`lisa_mm.models.LISA.tensor` returns; a subclass may add to it.

    Args:
        hidden_states: (R, L, D), the last of the language model.
        word_logits: (T, V), of the T tokens that carry loss.
        word_targets: (T,) int64, these tokens.
        prompts: For each image (K, C), the prompt embeddings.
        image_embeddings: Of the images that have prompts; None without any.
        low_res_logits: For each image (K, h, w).
        mask_logits: For each image (K, H, W) float32 at its original size.
        nothing: 0 with a path to all that a batch without masks does not reach; None elsewhere.
    """

    hidden_states: Tensor
    word_logits: Tensor
    word_targets: Tensor
    prompts: list[Tensor]
    image_embeddings: ImageEmbeddings | None
    low_res_logits: list[Tensor]
    mask_logits: list[Tensor]
    nothing: Tensor | None


class LossInputs(ModelOutputs):
    """What losses get of it.

    Args:
        mask_targets: For each image (K, H, W) in the precision of the masks.
    """

    mask_targets: list[Tensor]
