"""Transforms of a sample's images and masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, UnidentifiedImageError
from segment_anything.utils.transforms import ResizeLongestSide
from transformers import CLIPImageProcessorPil

from ...errors import DataError
from ...registry import TRANSFORMS
from ...structures import ImageSpec, MaskImageSpec, ProcessorImageSpec
from ..images import read_image
from ..masks import decode_mask
from ..processor import process_image

NO_IMAGE_SIZE = (32, 32)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """``img_path`` -> ``img`` (H, W, 3) uint8 RGB, rotated as its EXIF tag says, and ``original_size`` (H, W).

    A text-only sample (``img_path`` None) gets a black image that no token uses, so that batches keep one shape.
    """

    needs = ()
    gives = ('img', 'original_size')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results['img_path']
        if path is None:
            return {**results, 'img': np.zeros((*NO_IMAGE_SIZE, 3), dtype=np.uint8), 'original_size': NO_IMAGE_SIZE}
        try:
            image = read_image(path)
        except (OSError, SyntaxError, UnidentifiedImageError) as error:  # Pillow raises SyntaxError for a broken png
            raise DataError(
                f'{results["sample_id"]}: image {path} is missing or unreadable ({error}).',
                file=path,
                record=results['sample_id'],
            ) from error
        return {**results, 'img': image, 'original_size': image.shape[:2]}


@TRANSFORMS.register_module()
class DecodeMasks(BaseTransform):
    """``encoded_masks`` -> ``gt_masks`` (K, H, W) uint8; ignored pixels are background in training, 255 in testing (LISA)."""

    needs = ('original_size',)
    gives = ('gt_masks',)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results['original_size']
        decoded: dict[int, np.ndarray] = {}  # a target that is asked about several times is drawn once
        maps: dict[str, np.ndarray] = {}
        masks = []
        for spec in results['encoded_masks']:
            key = id(spec.get('shapes', spec))
            if key not in decoded:
                mask = decode_mask(spec, height, width, results['sample_id'], maps=maps)
                decoded[key] = mask if results['test_mode'] else (mask == 1).astype(np.uint8)
            masks.append(decoded[key])
        stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=np.uint8)
        return {**{k: v for k, v in results.items() if k != 'encoded_masks'}, 'gt_masks': stacked}


@TRANSFORMS.register_module()
class ResizeForVisionTower(BaseTransform):
    """``img`` -> ``pixel_values`` (3, S, S) uint8, with the tower's image processor.

    A whole model's processor gives ``image_inputs``, a dict of tensors, and ``image_ids``, the image's tokens, instead.

    Args:
        vision_preprocess: Arguments of ``CLIPImageProcessor`` or :func:`process_image` (derived from the mllm).
    """

    needs = ('img',)
    gives = ('pixel_values',)

    def __init__(self, vision_preprocess: ImageSpec):
        self.whole_model = ProcessorImageSpec(**vision_preprocess) if 'processor' in vision_preprocess else None
        if self.whole_model:
            return
        sizes: dict[str, Any] = {k: v for k, v in vision_preprocess.items() if k not in ('image_mean', 'image_std')}
        # normalisation happens on the device: uint8 travels
        self.processor = CLIPImageProcessorPil(**sizes, do_rescale=False, do_normalize=False)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.whole_model:
            inputs, ids = process_image(self.whole_model, results['img'])
            return {**results, 'image_inputs': inputs, 'image_ids': ids}
        pixels = self.processor(Image.fromarray(results['img']), return_tensors='np')['pixel_values'][0]
        return {**results, 'pixel_values': np.ascontiguousarray(pixels.astype(np.uint8))}


@TRANSFORMS.register_module()
class ResizeForMaskDecoder(BaseTransform):
    """``img`` -> ``mask_image`` (3, M, M) uint8, zero-padded at the right and bottom, and ``resized_size`` (h, w) inside it.

    Args:
        mask_preprocess: ``image_size`` and ``resize`` (derived from the mask decoder).
    """

    needs = ('img',)
    gives = ('mask_image', 'resized_size')

    def __init__(self, mask_preprocess: MaskImageSpec):
        self.size = int(mask_preprocess['image_size'])
        self.squash = mask_preprocess['resize'] == 'squash'
        self.longest_side = ResizeLongestSide(self.size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.squash:
            image = np.array(Image.fromarray(results['img']).resize((self.size, self.size), Image.Resampling.BILINEAR))
        else:
            image = self.longest_side.apply_image(results['img'])
        height, width = image.shape[:2]
        padded = np.zeros((3, self.size, self.size), dtype=np.uint8)
        padded[:, :height, :width] = image.transpose(2, 0, 1)
        return {**results, 'mask_image': padded, 'resized_size': (height, width)}
