"""Encoded masks: they stay so until a worker needs pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError

IGNORED = 255


def decode_mask(spec: dict[str, Any], height: int, width: int, where: str) -> np.ndarray:
    """One mask from its encoded form.

    Args:
        spec: ``{'shapes': [...]}`` as in a ReasonSeg json, or ``{'rle': {'size', 'counts'}}`` as in COCO.
        height: Of the image in pixels.
        width: Of the image in pixels.
        where: Names file and record in errors.

    Returns:
        (H, W) uint8: 1 object, 0 background, 255 ignored.

    Raises:
        DataError: for a mask of another size than the image.
    """
    if 'rle' in spec:
        rle = spec['rle']
        if tuple(rle['size']) != (height, width):
            raise DataError(
                f'{where}: the mask is {tuple(rle["size"])} but the image {(height, width)} (height, width). Redo the mask.'
            )
        return coco_mask.decode(rle).astype(np.uint8)
    return draw_shapes(spec['shapes'], height, width)


def shape_kind(shape: dict[str, Any]) -> str:
    """'target', 'ignore' or 'flag' (left out), by the label, as in ReasonSeg."""
    label = str(shape['label']).lower()
    if label == 'flag':
        return 'flag'
    return 'ignore' if 'ignore' in label else 'target'


def draw_shapes(shapes: list[dict[str, Any]], height: int, width: int) -> np.ndarray:
    """ReasonSeg's polygons, from the largest to the smallest area: outline and fill, coordinates cut to int.

    Returns:
        (H, W) uint8: 1 target, 255 ignored, 0 elsewhere.
    """
    drawn = []
    for shape in shapes:
        kind = shape_kind(shape)
        if kind == 'flag':
            continue
        points = np.array([shape['points']], dtype=np.int32)
        alone = np.zeros((height, width), dtype=np.uint8)
        cv2.polylines(alone, points, True, 1, 1)  # type: ignore
        cv2.fillPoly(alone, points, 1)  # type: ignore
        drawn.append((int(alone.sum()), points, IGNORED if kind == 'ignore' else 1))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _, points, value in sorted(drawn, key=lambda item: item[0], reverse=True):
        cv2.polylines(mask, points, True, value, 1)
        cv2.fillPoly(mask, points, value)
    return mask
