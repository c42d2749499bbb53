"""The forms of masks in annotation files: polygons, run lengths, paths and bitmaps, with rules that no decoder checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

from .formats import Number, Plain, Point, Reads, Side, Text, fault, strict

MOST_PIXELS = 2**31  # of an RLE; pycocotools counts in 32 bits

# kinds of masks, as errors name them
PATH = '<a path of a png>'
RLE = '<an RLE {"size", "counts"}>'
NUMBERS = '<a polygon [x, y, x, y, ...]>'
POINTS = '<a polygon [[x, y], ...]>'
PARTS = '<a list of polygons and RLEs>'
BITMAP = '<a bitmap of 0 and 1>'
EMPTY = '<an empty list>'
CODED, COUNTED = '<a text>', '<a list>'
OTHER = '<other>'


def _flat(values: list[float]) -> list[float]:
    if len(values) < 6 or len(values) % 2:
        raise fault(f'a polygon needs x and y of at least 3 points; it has {len(values)} values')
    return values


def _points(points: list[list[float]]) -> list[list[float]]:
    if len(points) < 3:
        raise fault(f'a polygon needs at least 3 points; it has {len(points)}')
    return points


def _run_lengths(rle: dict[str, Any]) -> dict[str, Any]:
    height, width = rle['size']
    if height * width > MOST_PIXELS:
        raise fault(f'its size {height} x {width} is more than any image has')
    counts = rle['counts']
    if isinstance(counts, list) and sum(counts) != height * width:
        raise fault(f'its counts cover {sum(counts)} pixels, its size [height, width] has {height * width}')
    return rle


def normalised(values: Sequence[float]) -> bool:
    """Whether coordinates, if there are any, all lie in 0..1, as shares of an image's sides do."""
    return bool(values) and all(0 <= value <= 1 for value in values)


NORMALISED = (
    'all coordinates lie in 0..1, so they seem to be shares of the width and height; pixels are needed: multiply x by the '
    'width and y by the height'
)


def numbers_of(polygon: Sequence[Any]) -> list[float]:
    """A polygon's coordinates x, y, x, y, ... from points or numbers.

    >>> numbers_of([[1, 2], [3, 4]])
    [1, 2, 3, 4]
    """
    return [value for point in polygon for value in point] if polygon and isinstance(polygon[0], list) else list(polygon)


def _in_pixels(mask: Any) -> Any:
    if is_bitmap(mask):
        return mask
    parts = mask if is_parts(mask) else [mask]
    polygons = [numbers_of(part) for part in parts if isinstance(part, list)]
    if polygons and len(polygons) == len(parts) and all(map(normalised, polygons)):
        raise fault(NORMALISED)
    return mask


def is_parts(mask: object) -> bool:
    """Whether a mask is a list of polygons and RLEs, and no polygon itself."""
    return isinstance(mask, list) and bool(mask) and not _is_numbers(mask) and not _is_points(mask)


def is_bitmap(mask: object) -> bool:
    """Whether a mask is a list of rows of 0 and 1."""
    return (
        isinstance(mask, list)
        and len(mask) > 1
        and all(isinstance(row, list) and len(row) == len(mask[0]) > 2 for row in mask)
        and all(value in (0, 1) for row in mask for value in row if isinstance(value, int | float))
        and all(isinstance(value, int | float) for row in mask for value in row)
    )


def _is_numbers(mask: list[Any]) -> bool:
    return not isinstance(mask[0], list | dict)


def _is_points(mask: list[Any]) -> bool:
    return isinstance(mask[0], list) and 0 < len(mask[0]) < 4 and not isinstance(mask[0][0], list)


def kind_of(mask: object) -> str:
    """The kind of mask that a value means by its form; :data:`OTHER` if none."""
    # the first element decides, so that a fault further on is named there
    if isinstance(mask, str):
        return PATH
    if isinstance(mask, dict):
        return RLE
    if not isinstance(mask, list):
        return OTHER
    if not mask:
        return EMPTY
    if is_bitmap(mask):
        return BITMAP
    return NUMBERS if _is_numbers(mask) else POINTS if _is_points(mask) else PARTS


@strict
class RLEFormat(TypedDict):
    """COCO's column-major run lengths."""

    size: Annotated[list[Side], Field(min_length=2, max_length=2), Reads('[height, width] in pixels, compared with the image')]
    counts: Annotated[
        Annotated[Plain, Tag(CODED)] | Annotated[list[Annotated[int, Field(ge=0, le=MOST_PIXELS)]], Tag(COUNTED)],
        Discriminator(lambda counts: CODED if isinstance(counts, str) else COUNTED),
        Reads('run lengths, compressed (a text) or not (a list)'),
    ]


RunLengths = Annotated[RLEFormat, AfterValidator(_run_lengths)]
Polygon = Annotated[list[Number], AfterValidator(_flat)]
Points = Annotated[list[Point], AfterValidator(_points)]
Part = Annotated[
    Annotated[Polygon, Tag(NUMBERS)] | Annotated[Points, Tag(POINTS)] | Annotated[RunLengths, Tag(RLE)],
    Discriminator(kind_of),
]
_Drawn = (
    Annotated[Polygon, Tag(NUMBERS)]
    | Annotated[Points, Tag(POINTS)]
    | Annotated[RunLengths, Tag(RLE)]
    | Annotated[list[Part], Tag(PARTS)]
    | Annotated[list[Any], Tag(EMPTY)]
)
Segmentation = Annotated[_Drawn, Discriminator(kind_of), AfterValidator(_in_pixels)]
Mask = Annotated[
    Annotated[Text, Tag(PATH)] | Annotated[list[Any], Tag(BITMAP)] | _Drawn, Discriminator(kind_of), AfterValidator(_in_pixels)
]
