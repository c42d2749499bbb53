"""Transforms of a sample's images and masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from segment_anything.utils.transforms import ResizeLongestSide
from transformers import CLIPImageProcessorPil

from ...errors import ConfigError, DataError
from ...registry import TRANSFORMS
from ...structures import ImageSpec, MaskImageSpec, ProcessorImageSpec
from ..images import check_value_range, image_size, read_image
from ..masks import decode_mask
from ..processor import check_size, process_image

NO_IMAGE_SIZE = (32, 32)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """``img_path`` -> ``img`` (H, W, 3) uint8 RGB, rotated as its EXIF tag says, and ``original_size`` (H, W).

    A text-only sample (``img_path`` None) gets a black image that no token uses, so that batches keep one shape. If the sample
    has ``notes``, a list, what is remarkable about the file is added to it. docs/images.md lists the kinds of files.

    Args:
        value_range: (low, high): samples of more than 8 bits become black at low and white at high. By default 16 bits keep their
            high byte as in ``cv2.imread``, and signed, 32 bit and float images are refused.
        draft: In training, decode a large jpeg at 1/2, 1/4 or 1/8 of its size, the smallest whose longer side has this many
            pixels. ``img`` is then smaller than ``original_size``, which masks keep: no later step may cut or turn both. Give at
            least the mask decoder's image size. None reads every pixel, as the recipe does; testing always does.
    """

    needs = ()
    gives = ('img', 'original_size')

    def __init__(self, value_range: tuple[float, float] | list[float] | None = None, draft: int | None = None):
        check_value_range(value_range)
        if draft is not None and (isinstance(draft, bool) or not isinstance(draft, int) or draft < 1):
            raise ConfigError(
                f'LoadImage.draft is {draft!r}; give the pixels that the longer side must keep, such as 1024, or None.'
            )
        self.value_range = value_range
        self.draft = draft

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results['img_path']
        if path is None:
            return {**results, 'img': np.zeros((*NO_IMAGE_SIZE, 3), dtype=np.uint8), 'original_size': NO_IMAGE_SIZE}
        draft = None if results.get('test_mode', True) else self.draft  # asking reads every pixel too
        try:
            size = image_size(path) if draft else None
            image = read_image(path, self.value_range, notes=results.get('notes'), draft=draft)
        except DataError as error:
            name = results['sample_id']
            raise DataError(f'{name}: {error}', file=path, record=name) from error
        return {**results, 'img': image, 'original_size': size or image.shape[:2]}


def image_loader(pipeline: Iterable[Any]) -> BaseTransform:
    """The step of a pipeline, written or built, that reads images: the first that gives ``img``; without one, LoadImage.

    LoadImage comes without ``draft``: what is shown has every pixel.
    """
    for step in pipeline:
        built = not isinstance(step, dict)
        if 'img' in getattr(step if built else TRANSFORMS.get(step['type']), 'gives', ()):
            load = step if built else TRANSFORMS.build(step)
            return LoadImage(load.value_range) if type(load) is LoadImage and load.draft is not None else load
    return LoadImage()


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
        try:
            if self.whole_model:
                inputs, ids = process_image(self.whole_model, results['img'])
                return {**results, 'image_inputs': inputs, 'image_ids': ids}
            check_size(self.processor, *results['img'].shape[:2])
        except ValueError as error:
            name, (height, width) = results['sample_id'], results['img'].shape[:2]
            raise DataError(
                f"{name}: the image is {height} x {width} pixels (height, width), which the model's processor refuses ({error}). "
                'Cut it or pad it, with its masks.',
                file=results.get('img_path') or '',
                record=name,
            ) from error
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

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height = width = self.size
        if not self.squash:
            height, width = results['img'].shape[:2]
            shape = ResizeLongestSide.get_preprocess_shape(height, width, self.size)
            height, width = (max(1, side) for side in shape)  # a line of pixels stays one
        image = np.array(Image.fromarray(results['img']).resize((width, height), Image.Resampling.BILINEAR))
        padded = np.zeros((3, self.size, self.size), dtype=np.uint8)
        padded[:, :height, :width] = image.transpose(2, 0, 1)
        return {**results, 'mask_image': padded, 'resized_size': (height, width)}
