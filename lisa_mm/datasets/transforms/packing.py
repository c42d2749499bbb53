"""The last transform of a pipeline."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...structures import SegDataSample

OF_ROWS = ('facts', 'mask_counts')
META = ('sample_id', 'img_path', 'original_size', 'resized_size', 'conversations')


@TRANSFORMS.register_module()
class PackSegInputs(BaseTransform):
    """Packs ``{'inputs': {pixel_values or image_inputs, mask_image, cached, rows}, 'data_sample': SegDataSample}``."""

    needs = ('original_size', 'resized_size', 'gt_masks', 'rows', 'pixel_values', 'mask_image')
    gives = ('inputs', 'data_sample')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sample = SegDataSample(
            metainfo={**{key: results[key] for key in META}, **{key: results[key] for key in OF_ROWS if results.get(key)}}
        )
        sample.set_data({'gt_masks': torch.from_numpy(results['gt_masks'])})
        return {'inputs': {**pack_images(results), 'rows': results['rows']}, 'data_sample': sample}


def pack_images(results: dict[str, Any]) -> dict[str, Any]:
    """The inputs of vision tower and mask decoder for one image."""
    packed = {name: results[name] for name in ('image_inputs', 'cached') if name in results}
    # absent if a feature cache has the features
    return packed | {name: torch.from_numpy(results[name]) for name in ('pixel_values', 'mask_image') if name in results}
