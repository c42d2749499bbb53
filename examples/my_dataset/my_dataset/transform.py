"""A transform: a dict in, a dict out."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import BaseTransform

from lisa_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GreyImage(BaseTransform):
    """Removes the colour from an image with a given probability.

    Args:
        probability: Between 0 and 1. The sample's own ``rng`` decides, so that item n stays the same at every visit.
    """

    def __init__(self, probability: float = 0.5):
        self.probability = probability

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if results['rng'].random() >= self.probability:
            return results
        grey = results['img'].mean(axis=2, keepdims=True).astype('uint8')
        return {**results, 'img': grey.repeat(3, axis=2)}
