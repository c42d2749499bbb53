"""Draw polygons, circles and bitmaps of labelme files as ReasonSeg's published program draws polygons."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from typing_extensions import NotRequired, TypedDict

from ..tokens import IGNORED
from .mask_formats import numbers_of
from .run_lengths import RLE, decode_rle


class Shape(TypedDict):
    """A shape: a polygon, a circle (x and y of its centre, radius), or a run-length mask with its left and top.

    Its label marks it as target, ignored, or left out.
    """

    label: str
    points: NotRequired[list[list[float]]]
    circle: NotRequired[list[float]]
    rle: NotRequired[RLE]
    corner: NotRequired[list[int]]


def shape_kind(label: str) -> str:
    """What a shape's label means in ReasonSeg: 'target', 'ignore' or 'flag' (left out)."""
    label = label.lower()
    if label == 'flag':
        return 'flag'
    return 'ignore' if 'ignore' in label else 'target'


def check_extent(numbers: Sequence[float], height: int, width: int) -> None:
    """Check that coordinates x, y, x, y, ... lie in or near an image: drawing takes memory and time that grow with them.

    Raises:
        ValueError: if one lies beyond an edge by more than the image's size.
    """
    for values, size, name in ((numbers[0::2], width, 'x'), (numbers[1::2], height, 'y')):
        low, high = min(values, default=0), max(values, default=0)
        # NaN is in no range
        if not (low >= -size and high <= 2 * size):
            raise ValueError(
                f'{name} of its points goes from {low:g} to {high:g}, but the image has {size} pixels: they lie outside by more '
                'than its size'
            )


def draw_shapes(shapes: list[Shape], height: int, width: int) -> np.ndarray:
    """Draw shapes from largest to smallest area. Polygons: outline and fill, coordinates truncated to int (LISA).

    Returns:
        (H, W) uint8: 1 target, 255 ignored, 0 elsewhere.

    Raises:
        ValueError: if a shape lies outside the image by more than its size.
    """
    drawn = []
    for shape in shapes:
        kind = shape_kind(shape['label'])
        if kind != 'flag':
            alone = _draw(shape, height, width)
            drawn.append((int(alone.sum()), alone, IGNORED if kind == 'ignore' else 1))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _, alone, value in sorted(drawn, key=lambda item: item[0], reverse=True):
        mask[alone] = value
    return mask


def _draw(shape: Shape, height: int, width: int) -> np.ndarray:
    """One shape, (H, W) bool."""
    if 'circle' in shape:
        x, y, radius = shape['circle']
        check_extent([x - radius, y - radius, x + radius, y + radius], height, width)
        # a pixel belongs to it if its centre does
        rows, columns = np.ogrid[:height, :width]
        return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
    if 'rle' in shape:
        patch, (left, top) = decode_rle(shape['rle']), shape.get('corner') or (0, 0)
        bottom, right = top + patch.shape[0], left + patch.shape[1]
        if left < 0 or top < 0 or right > width or bottom > height:
            raise ValueError(
                f'its mask covers x {left} to {right} and y {top} to {bottom}, but the image has {width} x {height} pixels'
            )
        alone = np.zeros((height, width), dtype=bool)
        alone[top:bottom, left:right] = patch == 1
        return alone
    corners = shape.get('points', [])
    check_extent(numbers_of(corners), height, width)
    points = np.array([corners], dtype=np.int32)
    alone = np.zeros((height, width), dtype=np.uint8)
    cv2.polylines(alone, points, True, 1, 1)  # type: ignore - cv2 takes a number for a colour
    cv2.fillPoly(alone, points, 1)  # type: ignore - as above
    return alone == 1
