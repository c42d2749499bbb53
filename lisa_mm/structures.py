"""Shared structures: the sample from data set to metric, and the images and texts that parts of a model need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmengine.structures import BaseDataElement
from torch import Tensor
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from .evaluation.judged import Judged
    from .models.base import GenerateOutput


class TowerImageSpec(TypedDict, total=False):
    """The images a vision tower needs, as arguments of transformers' image processors; these are the common ones.

    Args:
        size: Sides in pixels that the image is resized to, ``height`` and ``width`` or ``shortest_edge``.
        crop_size: ``height`` and ``width`` of the tower's input in pixels.
        do_center_crop: Whether to crop the middle.
        resample: Number of Pillow's resampling filter.
        image_mean: Channel means on the 0-1 scale.
        image_std: Channel deviations on the 0-1 scale.
    """

    size: dict[str, int]
    crop_size: dict[str, int]
    do_center_crop: bool
    resample: int
    image_mean: Sequence[float]
    image_std: Sequence[float]


class ProcessorImageSpec(TypedDict):
    """The images a whole model needs, made by its own processor.

    Args:
        processor: Folder of the processor.
        image_text: The text that stands for an image; None takes it from the chat template.
        image_token_id: Id of the tokens that features replace.
        image_options: Options of the image processor.
    """

    processor: str
    image_text: str | None
    image_token_id: int
    image_options: dict[str, Any]


ImageSpec = TowerImageSpec | ProcessorImageSpec


class MaskImageSpec(TypedDict):
    """The images a mask decoder needs.

    Args:
        image_size: Side of the square input in pixels.
        mean: Channel means on the 0-255 scale.
        std: Channel deviations on the 0-255 scale.
        resize: 'longest_side' pads the image to the square, 'squash' stretches it.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    resize: Literal['longest_side', 'squash']


class FoundFeatures(TypedDict):
    """Features of one frozen encoder that were found on disk.

    Args:
        encoder: Key of the encoder in the store.
        stored: Number format of the store, such as 'float16'; None keeps what the encoder gives.
        numbers: Numbers of the images in the batch, ascending.
        maps: Name -> (n, ...), of these images.
        given: Name -> number format that the encoder gave.
    """

    encoder: str
    stored: str | None
    numbers: list[int]
    maps: dict[str, Tensor]
    given: dict[str, str]


class CachedImages(TypedDict):
    """What is known of the B images of a batch with a feature cache.

    Args:
        keys: Key of each image in the store.
        original_sizes: Height and width of each.
        resized_sizes: Height and width of each inside the mask decoder's padded square.
        found: Name of a cached encoder -> what was found. The pixels for an encoder are those of the other images, in order.
    """

    keys: list[str]
    original_sizes: list[tuple[int, int]]
    resized_sizes: list[tuple[int, int]]
    found: dict[str, FoundFeatures]


class TokenizerSpec(TypedDict):
    """Arguments of :func:`lisa_mm.datasets.tokenizer.build_tokenizer`, which documents them."""

    pretrained: str
    template: str
    wrap_image: bool
    mask_tokens: tuple[str, ...]
    answer_tokens: tuple[str, ...]


class SegDataSample(BaseDataElement):
    """One image with its masks, as an mmengine data element.

    Metainfo (set at packing):
        sample_id (str): Names the sample in errors, e.g. ``'train_12.json'``.
        img_path (str): The image file.
        original_size (tuple[int, int]): Height and width of the image file; masks are of this size.
        resized_size (tuple[int, int]): Height and width inside the mask decoder's padded square.
        conversations (list[list[tuple[str, str]]]): One list of (question, answer) per row.
        facts (list[dict]): In testing, what a benchmark knows of each row, such as ``{'kind': 'long'}``; absent if nothing.
        mask_counts (list[list[int]]): Mask tokens (``[SEG]``) of each turn of each row, as the data set asks.

    Data fields:
        gt_masks (K, H, W) uint8: 1 object, 0 background, 255 ignored; in the order of the ``[SEG]`` of the image's rows.
        mask_logits (K, H, W) float32: written by ``LISA.predict``; K may be 0.
        masks (K, H, W) bool: Where the logits exceed 0; an evaluation has them in place of ``mask_logits``.
        answers (list[str]): written by generation, one per row.
        masks_said (list[int]): Mask tokens of each of these answers.
        judged (list[Judged]): Counts of pixels of each question, see :mod:`lisa_mm.evaluation.judged`.

    Example:
        >>> sample = SegDataSample(metainfo=dict(sample_id='a', original_size=(2, 3)))
        >>> sample.original_size
        (2, 3)
    """

    sample_id: str
    img_path: str | None
    original_size: tuple[int, int]
    resized_size: tuple[int, int]
    conversations: list[list[tuple[str, str]]]
    facts: list[dict[str, Any]]
    mask_counts: list[list[int]]
    gt_masks: Tensor
    mask_logits: Tensor
    masks: Tensor
    answers: list[str]
    masks_said: list[int]
    judged: list[Judged]
    generated: list[GenerateOutput]

    def pin_memory(self) -> SegDataSample:
        """A copy with its tensors in pinned memory, for a data loader's ``pin_memory``."""
        pinned = self.new()
        for name, value in self.items():
            if isinstance(value, Tensor):
                pinned.set_data({name: value.pin_memory()})
        return pinned  # type: ignore[return-value] - the same class
