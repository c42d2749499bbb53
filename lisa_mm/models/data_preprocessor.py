"""From collated uint8 images to normalised tensors on the model's device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from ..registry import MODELS
from ..structures import ImageSpec, MaskImageSpec
from .batch import ModelInputs
from .batch_layout import BatchLayout
from .precision import Float32Buffers


@MODELS.register_module()
class SegDataPreprocessor(Float32Buffers, BaseDataPreprocessor):
    """Moves the batch to the device as uint8, then converts, normalises and pads it.

    Args:
        vision: ``image_mean`` and ``image_std`` of the vision tower on the 0-1 scale; absent if a processor has normalised.
        mask: ``mean`` and ``std`` of the mask decoder on the 0-255 scale.

    Shapes:
        inputs['pixel_values'] (B, 3, S, S) uint8 -> float.
        inputs['mask_images'] (B, 3, M, M) uint8, padded right and bottom -> float, 0 outside each sample's ``resized_size``
        Float images are already normalised and pass through. With a feature cache, B is the number of images to encode.
    """

    mean: Tensor
    std: Tensor
    mask_mean: Tensor
    mask_std: Tensor
    look: Callable[[ModelInputs], BatchLayout] | None = None  # makes the layout of a batch; the model sets it

    def __init__(self, vision: ImageSpec, mask: MaskImageSpec):
        # has no effect for unpinned memory; the data loader pins memory where there is a GPU
        super().__init__(non_blocking=True)
        for name, values in (
            ('mean', vision.get('image_mean', (0.0, 0.0, 0.0))),
            ('std', vision.get('image_std', (1.0, 1.0, 1.0))),
            ('mask_mean', mask['mean']),
            ('mask_std', mask['std']),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(3, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise ``data['inputs']`` as above and add ``layout``; ``data['data_samples']`` only moves to the device."""
        del training  # train and test images are treated alike
        layout = self.look(data['inputs']) if self.look and 'input_ids' in data['inputs'] else None
        data = self.cast_data(data)  # type: ignore - mmengine returns what it is given
        inputs = dict(data['inputs'])
        if layout is not None:
            inputs['layout'] = layout.beside(inputs['input_ids'])
        images = inputs.get('pixel_values')
        if images is not None and images.dtype == torch.uint8:
            # (u8 / 255 - mean) / std, in this order, is bit-equal to the Hugging Face processor
            inputs['pixel_values'] = (images.float() / 255 - self.mean) / self.std
        images = inputs.get('mask_images')
        if images is not None and images.dtype == torch.uint8:
            normalised = (images.float() - self.mask_mean) / self.mask_std
            for image, (height, width) in zip(normalised, _sizes_inside(data), strict=True):
                image[:, height:] = 0
                image[:, :, width:] = 0
            inputs['mask_images'] = normalised
        return {**data, 'inputs': inputs}


def _sizes_inside(data: dict[str, Any]) -> list[tuple[int, int]]:
    """Height and width inside the square of each image that the mask decoder has to encode."""
    sizes = [sample.resized_size for sample in data['data_samples']]
    found = (data['inputs'].get('cached') or {}).get('found', {}).get('image_encoder', {}).get('numbers', ())
    return [size for number, size in enumerate(sizes) if number not in found]
