"""The plain versions of the readers' last steps: normalised float images leave the data worker."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything.utils.transforms import ResizeLongestSide
from transformers import CLIPImageProcessorPil

from lisa_mm.datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower
from lisa_mm.models.mask_decoders.sam_mask_decoder import SAM_MEAN, SAM_STD


def normalised_for_tower(self: ResizeForVisionTower, results: dict[str, Any]) -> dict[str, Any]:
    """``ResizeForVisionTower.transform``: ``pixel_values`` (3, S, S) float32."""
    sizes = {name: getattr(self.processor, name) for name in ('size', 'crop_size', 'do_center_crop', 'do_resize', 'resample')}
    pixels = CLIPImageProcessorPil(**sizes)(Image.fromarray(results['img']), return_tensors='np')['pixel_values'][0]
    return {**results, 'pixel_values': np.ascontiguousarray(pixels, dtype=np.float32)}


def normalised_for_decoder(self: ResizeForMaskDecoder, results: dict[str, Any]) -> dict[str, Any]:
    """``ResizeForMaskDecoder.transform``: ``mask_image`` (3, M, M) float32, zero outside the image."""
    height, width = results['img'].shape[:2]
    height, width = ResizeLongestSide.get_preprocess_shape(height, width, self.size)
    image = np.array(Image.fromarray(results['img']).resize((width, height), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (SAM_MEAN, SAM_STD))
    padded = F.pad((pixels - mean) / std, (0, self.size - width, 0, self.size - height))
    return {**results, 'mask_image': padded.numpy(), 'resized_size': (height, width)}
