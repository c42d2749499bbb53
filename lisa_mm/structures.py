"""What travels: the sample from data set to metric, and what parts of a model say of the images and texts they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmengine.structures import BaseDataElement
from torch import Tensor
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from .models.base import GenerateOutput


class TowerImageSpec(TypedDict, total=False):
    """What a vision tower wants: arguments of transformers' image processors, whose common ones are these.

    Args:
        size: Sides in pixels that the image is brought to, ``height`` and ``width`` or ``shortest_edge``.
        crop_size: ``height`` and ``width`` in pixels of what the tower sees.
        do_center_crop: Whether the middle is cut out.
        resample: Of Pillow.
        image_mean: Of each channel, on 0-1.
        image_std: Of each channel, on 0-1.
    """

    size: dict[str, int]
    crop_size: dict[str, int]
    do_center_crop: bool
    resample: int
    image_mean: Sequence[float]
    image_std: Sequence[float]


class ProcessorImageSpec(TypedDict):
    """What a whole model wants: images as its own processor makes them.

    Args:
        processor: Folder of the processor.
        image_text: What stands for an image in a text; None takes it from the chat template.
        image_token_id: Id of the tokens that features take the place of.
        image_options: Of the image processor.
    """

    processor: str
    image_text: str | None
    image_token_id: int
    image_options: dict[str, Any]


ImageSpec = TowerImageSpec | ProcessorImageSpec


class MaskImageSpec(TypedDict):
    """What a mask decoder wants.

    Args:
        image_size: Side in pixels of its square.
        mean: Of each channel, on 0-255.
        std: Of each channel, on 0-255.
        resize: 'longest_side' pads the image to the square, 'squash' stretches it.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    resize: Literal['longest_side', 'squash']


class TokenizerSpec(TypedDict):
    """Arguments of :func:`lisa_mm.datasets.tokenizer.build_tokenizer`, which says what they are."""

    pretrained: str
    template: str
    wrap_image: bool
    mask_tokens: tuple[str, ...]
    answer_tokens: tuple[str, ...]


class SegDataSample(BaseDataElement):
    """One image with its masks, as mmengine's data elements go.

    Metainfo (set at packing):
        sample_id (str): Names the sample in errors, e.g. ``'train_12.json'``.
        img_path (str): The image file.
        original_size (tuple[int, int]): Height and width of the image file; masks are of this size.
        resized_size (tuple[int, int]): Height and width inside the mask decoder's padded square.
        conversations (list[list[tuple[str, str]]]): One list of (question, answer) a row.

    Data fields:
        gt_masks (K, H, W) uint8: 1 object, 0 background, 255 ignored; in the order of the ``[SEG]`` of the image's rows.
        mask_logits (K, H, W) float32: written by ``LISA.predict``; K may be 0.
        answers (list[str]): written by generation, one a row.

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
    gt_masks: Tensor
    mask_logits: Tensor
    answers: list[str]
    generated: list[GenerateOutput]

    def pin_memory(self) -> SegDataSample:
        """The same with its tensors in pinned memory, for a data loader's ``pin_memory``."""
        pinned = self.new()
        for name, value in self.items():
            if isinstance(value, Tensor):
                pinned.set_data({name: value.pin_memory()})
        return pinned  # type: ignore[return-value]
