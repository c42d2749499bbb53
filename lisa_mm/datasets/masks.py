"""Masks, which stay encoded until a worker needs pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from typing_extensions import NotRequired, TypedDict

from ..errors import DataError
from .mask_formats import is_parts, numbers_of
from .mask_images import read_label_map, read_mask
from .run_lengths import RLE, compressed, decode_rle
from .shapes import Shape, check_extent, draw_shapes, shape_kind

Polygon = list[float]  # x, y, x, y, ...


class ShapesMask(TypedDict):
    """A mask as in a ReasonSeg json. ``size`` [H, W] is compared with the image's."""

    shapes: list[Shape]
    size: NotRequired[list[int]]


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


def joined(masks: list[EncodedMask]) -> EncodedMask:
    """The union of several encoded masks, as one."""
    if len(masks) == 1:
        return masks[0]
    return {'union': masks}


def names_no_region(spec: EncodedMask) -> bool:
    """Whether a mask is empty as it is written: no polygon, no RLE with pixels, no target shape. Png files are not opened.

    >>> names_no_region({'union': []}), names_no_region({'png': 'a.png'})
    (True, False)
    """
    if 'union' in spec:
        return all(names_no_region(part) for part in spec['union'])
    if 'shapes' in spec:
        return not any(shape_kind(shape['label']) == 'target' for shape in spec['shapes'])
    if 'segmentations' in spec:
        return not any(_has_pixels(part) for part in spec['segmentations'])
    return 'rle' in spec and not _has_pixels(spec['rle'])


def _has_pixels(part: Polygon | RLE) -> bool:
    return bool(part) if not isinstance(part, dict) else int(coco_mask.area(part)) > 0  # pyright: ignore[reportArgumentType] - the stubs know bytes only


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
    if 'union' in spec:
        parts = [decode_mask(part, height, width, where, maps=maps) for part in spec['union']]
        return np.maximum.reduce([np.zeros((height, width), np.uint8), *parts])
    if 'label_map' not in spec and 'png' not in spec:
        size = tuple(spec['rle']['size'] if 'rle' in spec else spec.get('size') or ())
        if size and size != (height, width):
            raise DataError(
                f'{where}: its annotation is for an image of {size} but the image is {(height, width)} (height, width). '
                'Put the image there that was annotated, or redo the mask.',
                file=where,
            )
        try:
            if 'shapes' in spec:
                return draw_shapes(spec['shapes'], height, width)
            return decode_rle(spec['rle']) if 'rle' in spec else _union(spec['segmentations'], height, width)
        except ValueError as error:
            raise DataError(f'{where}: {error}. Redo the mask.', file=where) from error
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


def encode_segmentation(segmentation: Any, size: tuple[int, int] | None = None) -> list[Polygon | RLE]:
    """COCO's ``segmentation`` (see :data:`lisa_mm.datasets.mask_formats.Segmentation`) -> flat polygons and compressed RLEs.

    An empty list stays empty: the published validation sets count such an annotation as an empty mask.

    Args:
        segmentation: It, checked by its format.
        size: (height, width) of the image, compared with an RLE's; None if unknown.

    Raises:
        ValueError: for an RLE of another size.
    """
    encoded: list[Polygon | RLE] = []
    for part in segmentation if is_parts(segmentation) else [segmentation] if segmentation else []:
        if not isinstance(part, dict):
            encoded.append(numbers_of(part))
            continue
        if size is not None and tuple(part['size']) != size:
            raise ValueError(f'the mask is {tuple(part["size"])} but the image {size} (height, width)')
        encoded.append(compressed(part))  # pyright: ignore[reportArgumentType] - an RLE, as its format says
    return encoded


def _union(segmentations: list[Polygon | RLE], height: int, width: int) -> np.ndarray:
    """The union of an annotation's parts, which may overlap: the mask stays 0 or 1 (the original adds up to 2)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    polygons = [part for part in segmentations if not isinstance(part, dict)]
    if polygons:
        for polygon in polygons:
            check_extent(polygon, height, width)
        flat = coco_mask.frPyObjects(polygons, height, width)  # type: ignore - the stubs know whole numbers only
        mask |= coco_mask.decode(coco_mask.merge(flat))
    for part in segmentations:
        if isinstance(part, dict):
            if part['size'] != [height, width]:
                raise ValueError(f'the mask is {tuple(part["size"])} but the image {(height, width)} (height, width)')
            mask |= decode_rle(part)
    return mask


def vertices_outside(spec: EncodedMask, height: int, width: int) -> int:
    """The number of a mask's vertices that lie beyond the edge of the image, where they are cut off."""
    if 'union' in spec:
        return sum(vertices_outside(part, height, width) for part in spec['union'])
    polygons = [part for part in spec.get('segmentations', []) if not isinstance(part, dict)]
    polygons += [numbers_of(shape['points']) for shape in spec.get('shapes', []) if 'points' in shape]
    return sum(
        int(((x < 0) | (x > width) | (y < 0) | (y > height)).sum())
        for x, y in (np.asarray(polygon, np.float64).reshape(-1, 2).T for polygon in polygons)
    )
