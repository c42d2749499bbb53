"""The one structure that travels from data set to metric."""

from __future__ import annotations

from mmengine.structures import BaseDataElement
from torch import Tensor


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

    def pin_memory(self) -> SegDataSample:
        """The same with its tensors in pinned memory, for a data loader's ``pin_memory``."""
        pinned = self.new()
        for name, value in self.items():
            if isinstance(value, Tensor):
                pinned.set_data({name: value.pin_memory()})
        return pinned  # type: ignore[return-value]
