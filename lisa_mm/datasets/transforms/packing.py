"""The end of a pipeline."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...structures import SegDataSample

META = ('sample_id', 'img_path', 'original_size', 'resized_size', 'conversations')


@TRANSFORMS.register_module()
class PackSegInputs(BaseTransform):
    """-> ``{'inputs': {pixel_values, mask_image, rows}, 'data_sample': SegDataSample}``."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sample = SegDataSample(metainfo={key: results[key] for key in META})
        sample.set_data({'gt_masks': torch.from_numpy(results['gt_masks'])})
        inputs = {
            'pixel_values': torch.from_numpy(results['pixel_values']),
            'mask_image': torch.from_numpy(results['mask_image']),
            'rows': results['rows'],
        }
        return {'inputs': inputs, 'data_sample': sample}
