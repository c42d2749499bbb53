"""Masks, which stay encoded until a worker needs pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from typing_extensions import NotRequired, TypedDict

from ..errors import DataError
from ..tokens import IGNORED
from .mask_images import read_label_map, read_mask

Polygon = list[float]  # x, y, x, y, ...


class RLE(TypedDict):
    """COCO's column-major run lengths, compressed or not."""

    size: list[int]
    counts: str | list[int]


class Shape(TypedDict):
    """A polygon of a ReasonSeg json; its label marks it as target, ignored, or left out."""

    label: str
    points: list[list[float]]


class ShapesMask(TypedDict):
    """A mask as in a ReasonSeg json."""

    shapes: list[Shape]


class RLEMask(TypedDict):
    """A run-length mask as in COCO."""

    rle: RLE


class PolygonsMask(TypedDict):
    """The union of COCO's polygons and RLEs; an empty list is an empty mask. ``size`` [H, W] is compared with the image's."""

    segmentations: list[Polygon | RLE]
    size: NotRequired[list[int]]


class LabelMapMask(TypedDict):
    """The pixels where a png holds a value."""

    label_map: str
    value: int


class PngMask(TypedDict):
    """The pixels where a png is not 0."""

    png: str


class UnionMask(TypedDict):
    """The union of several masks; an empty mask if there are none."""

    union: list[EncodedMask]


EncodedMask = ShapesMask | RLEMask | PolygonsMask | LabelMapMask | PngMask | UnionMask


def decode_mask(
    spec: EncodedMask, height: int, width: int, where: str, *, maps: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """Decode one mask.

    Args:
        spec: One of the kinds above.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        where: File and record, for errors.
        maps: Pngs read so far for one image, by path: a label map of three classes is read once.

    Returns:
        (H, W) uint8: 1 object, 0 background, 255 ignored.

    Raises:
        DataError: for a mask that differs in size from the image or can't be read.
    """
    if 'shapes' in spec:
        return draw_shapes(spec['shapes'], height, width)
    if 'rle' in spec:
        return _decode_rle(spec['rle'], height, width, where)
    if 'union' in spec:
        parts = [decode_mask(part, height, width, where) for part in spec['union']]
        return np.maximum.reduce([np.zeros((height, width), np.uint8), *parts])
    if 'segmentations' in spec:
        size = tuple(spec.get('size') or ())
        if size and size != (height, width):
            raise DataError(
                f'{where}: its annotation file says {size} but the image is {(height, width)} (height, width). '
                'Put the image there that was annotated.',
                file=where,
            )
        return _union(spec['segmentations'], height, width, where)
    path = spec['label_map'] if 'label_map' in spec else spec['png']
    maps = {} if maps is None else maps
    if path not in maps:
        maps[path] = read_label_map(path) if 'label_map' in spec else read_mask(path)
    values = maps[path]
    if values.shape != (height, width):
        raise DataError(
            f'{where}: the mask {path} is {values.shape} but the image {(height, width)} (height, width). Redo the mask.',
            file=path,
            record=where,
        )
    return (values == spec['value'] if 'label_map' in spec else values != 0).astype(np.uint8)


def encode_segmentation(segmentation: object, height: int, width: int) -> list[Polygon | RLE]:
    """COCO's ``segmentation`` (polygons, an RLE, or a list of RLEs) -> a list of flat polygons and compressed RLEs.

    An empty list stays empty: the published validation sets count such an annotation as an empty mask.

    Raises:
        ValueError: with the fault of the annotation.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list):
        raise ValueError(f'the segmentation is {segmentation!r}; polygons or an RLE are needed')
    if parts and all(isinstance(part, (int, float)) for part in parts):
        parts = [parts]
    encoded = []
    for part in parts:
        if isinstance(part, dict):
            encoded.append(_compressed(part, height, width))
            continue
        flat = [value for point in part for value in point] if part and isinstance(part[0], (list, tuple)) else part
        if len(flat) < 6 or len(flat) % 2 or not all(isinstance(value, (int, float)) for value in flat):
            raise ValueError(f'a polygon needs at least 3 points x, y; it has the {len(flat)} values {str(flat)[:60]}')
        encoded.append(flat)
    return encoded


def _compressed(rle: Mapping[str, Any], height: int, width: int) -> RLE:
    if not {'size', 'counts'} <= set(rle):
        raise ValueError(f'an RLE needs size and counts; keys found: {sorted(rle)}')
    if list(rle['size']) != [height, width]:
        raise ValueError(f'the mask is {tuple(rle["size"])} but the image {(height, width)} (height, width)')
    counts = rle['counts']
    if isinstance(counts, list):
        if sum(counts) != height * width:
            raise ValueError(f'the RLE covers {sum(counts)} pixels, the image has {height * width}')
        counts = coco_mask.frPyObjects(rle, height, width)['counts']  # type: ignore - the stubs know compressed RLE only
    return {'size': [height, width], 'counts': counts.decode('ascii') if isinstance(counts, bytes) else counts}


def encode_mask(mask: np.ndarray) -> RLE:
    """(H, W) -> a compressed RLE of JSON types."""
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode('ascii')}  # pyright: ignore[reportAttributeAccessIssue] - bytes, which pycocotools' stub calls str


def _decode_rle(rle: RLE, height: int, width: int, where: str) -> np.ndarray:
    if tuple(rle['size']) != (height, width):
        raise DataError(
            f'{where}: the mask is {tuple(rle["size"])} but the image {(height, width)} (height, width). Redo the mask.',
            file=where,
        )
    try:
        return coco_mask.decode(rle).astype(np.uint8)  # pyright: ignore[reportArgumentType] - compressed by now
    except ValueError as error:
        raise DataError(f'{where}: the RLE is broken ({error}). Redo the mask.', file=where) from error


def _union(segmentations: list[Polygon | RLE], height: int, width: int, where: str) -> np.ndarray:
    """The union of an annotation's parts, which may overlap: the mask stays 0 or 1 (the original adds up to 2)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    polygons = [part for part in segmentations if not isinstance(part, dict)]
    if polygons:
        flat = coco_mask.frPyObjects(polygons, height, width)  # type: ignore - the stubs know whole numbers only
        mask |= coco_mask.decode(coco_mask.merge(flat))
    for part in segmentations:
        if isinstance(part, dict):
            mask |= _decode_rle(part, height, width, where)
    return mask


def shape_kind(shape: Shape) -> str:
    """The kind of a polygon by its label, as in ReasonSeg: 'target', 'ignore' or 'flag' (left out)."""
    label = str(shape['label']).lower()
    if label == 'flag':
        return 'flag'
    return 'ignore' if 'ignore' in label else 'target'


def draw_shapes(shapes: list[Shape], height: int, width: int) -> np.ndarray:
    """Draw ReasonSeg's polygons from largest to smallest area: outline and fill, coordinates truncated to int.

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
        cv2.polylines(alone, points, True, 1, 1)  # type: ignore - cv2 takes a number for a colour
        cv2.fillPoly(alone, points, 1)  # type: ignore - as above
        drawn.append((int(alone.sum()), points, IGNORED if kind == 'ignore' else 1))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _, points, value in sorted(drawn, key=lambda item: item[0], reverse=True):
        cv2.polylines(mask, points, True, value, 1)
        cv2.fillPoly(mask, points, value)
    return mask
