"""Shapes as labelme, and ReasonSeg with it, writes them: each ``shape_type`` is read as it is drawn, or refused by name."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AfterValidator
from typing_extensions import NotRequired, TypedDict

from .formats import Harmless, Plain, Point, Reads, fault, strict
from .mask_formats import NORMALISED, normalised, numbers_of
from .run_lengths import encode_mask
from .shapes import Shape, shape_kind

# X-AnyLabeling writes the corners of turned boxes and of quadrilaterals in order, as labelme those of oriented rectangles
POLYGONS = ('polygon', 'rotation', 'quadrilateral', 'oriented_rectangle')
NO_AREA = ('line', 'linestrip', 'point', 'points')
ALLOWED = f'{", ".join(POLYGONS)}, rectangle, circle, mask'


@strict
class LabelmeShape(TypedDict):
    """A shape of a labelme json."""

    label: Annotated[Plain, Reads("'flag' is left out, a label with 'ignore' is ignored, others are the target (any capitals)")]
    points: NotRequired[Annotated[list[Point] | None, Reads('[[x, y], ...] in pixels; their meaning depends on shape_type')]]
    shape_type: NotRequired[Annotated[str | None, Reads(f'{ALLOWED}; without it, polygon. Refused: others')]]
    mask: NotRequired[Annotated[str | None, Reads("a shape_type 'mask': png in base64, at the first point")]]
    labels: NotRequired[Annotated[Any, Harmless("ReasonSeg's label as a list")]]
    image_name: NotRequired[Annotated[Any, Harmless('ReasonSeg')]]
    group_id: NotRequired[Annotated[Any, Harmless('all targets of a file are one mask')]]
    group_ids: NotRequired[Annotated[Any, Harmless('ReasonSeg')]]
    flags: NotRequired[Annotated[Any, Harmless("an annotator's remarks")]]
    description: NotRequired[Annotated[Any, Harmless("an annotator's remarks")]]
    attributes: NotRequired[Annotated[Any, Harmless("an annotator's remarks")]]
    difficult: NotRequired[Annotated[Any, Harmless("an annotator's remarks")]]
    score: NotRequired[Annotated[Any, Harmless('confidence of the tool that proposed it')]]
    kie_linking: NotRequired[Annotated[Any, Harmless('X-AnyLabeling')]]
    direction: NotRequired[Annotated[Any, Harmless('the points are turned already')]]
    line_color: NotRequired[Annotated[Any, Harmless('display')]]
    fill_color: NotRequired[Annotated[Any, Harmless('display')]]
    other_data: NotRequired[Annotated[Any, Harmless('labelme')]]


def _drawable(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rules that depend on a shape's type."""
    if shape_kind(shape['label']) == 'flag':
        return shape
    kind, points = shape.get('shape_type') or 'polygon', shape.get('points') or []
    if kind in NO_AREA:
        raise fault(f'shape_type is {kind!r}, which has no area; draw a polygon or delete it')
    if kind not in (*POLYGONS, 'rectangle', 'circle', 'mask'):
        raise fault(f'shape_type is {kind!r}; allowed: {ALLOWED}; draw it as one of them or delete it')
    if kind in POLYGONS and len(points) < 2:
        raise fault(f'it is an empty polygon ({len(points)} points); draw it or delete it')
    if (kind == 'rectangle' and len(points) not in (2, 4)) or (kind == 'circle' and len(points) != 2):
        raise fault(f'it is a {kind} of {len(points)} points; 2 are needed')
    if shape.get('mask') is not None and kind != 'mask':
        raise fault(f"it has a mask, but its shape_type is {kind!r}; delete one of them or make the type 'mask'")
    if kind == 'mask':
        _bitmap(shape)
    return shape


def _bitmap(shape: Mapping[str, Any]) -> np.ndarray:
    """(H, W) bool, of the size of the shape's box."""
    points = shape.get('points') or []
    if not shape.get('mask') or len(points) != 2:
        raise fault("its shape_type is 'mask', so it needs a mask (png in base64) and 2 points, the corners of its box")
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape['mask'], validate=True)), formats=['PNG']) as file:
            if file.width * file.height > 10**8 or len(file.getbands()) != 1:
                raise fault(f'its mask is a {file.mode} png of {file.width} x {file.height}; one channel is needed')
            values = np.array(file) != 0
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise fault(f'its mask is no png in base64 ({error}); draw it again') from None
    (left, top), (right, bottom) = points
    width, height = int(right) - int(left) + 1, int(bottom) - int(top) + 1
    if values.shape != (height, width):
        raise fault(
            f'its mask is {values.shape[1]} x {values.shape[0]} pixels, the box of its points {width} x {height}; draw it again'
        )
    return values


Shapes = list[Annotated[LabelmeShape, AfterValidator(_drawable)]]


def in_pixels(target: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule that coordinates of an object's shapes are pixels."""
    numbers = [
        value
        for shape in target['shapes']
        if shape_kind(shape['label']) != 'flag' and shape.get('shape_type') != 'mask'
        for value in numbers_of(shape.get('points') or [])
    ]
    if normalised(numbers):
        raise fault(f'shapes: {NORMALISED}')
    return target


def encode_shapes(shapes: list[LabelmeShape]) -> list[Shape]:
    """Shapes as :func:`lisa_mm.datasets.shapes.draw_shapes` takes them, in order; those labelled 'flag' are left out.

    A circle becomes a centre and a radius, a mask becomes run lengths with a corner, every other shape becomes a polygon.
    """
    return [_encoded(shape) for shape in shapes if shape_kind(shape['label']) != 'flag']


def _encoded(shape: LabelmeShape) -> Shape:
    label, kind, points = shape['label'], shape.get('shape_type') or 'polygon', shape.get('points') or []
    if kind == 'circle':
        (x, y), edge = points
        return {'label': label, 'circle': [x, y, math.dist((x, y), edge)]}
    if kind == 'mask':
        return {'label': label, 'rle': encode_mask(_bitmap(shape)), 'corner': [int(value) for value in points[0]]}
    if kind == 'rectangle' and len(points) == 2:
        (left, top), (right, bottom) = points
        points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {'label': label, 'points': points}
