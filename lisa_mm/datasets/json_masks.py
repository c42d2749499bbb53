"""Masks in our JSON files: polygon, RLE, or path of a png."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .masks import RLE, EncodedMask, Polygon, encode_segmentation


def read_masks(masks: object, folder: Path, file: Path, where: str) -> list[EncodedMask]:
    """The ``masks`` of a row, encoded as :func:`lisa_mm.datasets.masks.decode_mask` takes them.

    Args:
        masks: A list; each mask is a path of a png (nonzero = object), an RLE ``{"size", "counts"}``, a polygon ``[[x, y], ...]``
            or ``[x, y, x, y, ...]``, or a list of polygons and RLEs, which means their union. An empty list is an empty mask.
        folder: The folder that png paths are relative to.
        file: The JSON file, for errors.
        where: The row, for errors.

    Raises:
        DataError: for anything else.
    """
    if not isinstance(masks, list):
        raise DataError(f'{file}: {where}: masks is a {type(masks).__name__}, a list is needed.', file=file, record=where)
    return [_read(mask, folder, file, f'{where}, masks[{number}]') for number, mask in enumerate(masks)]


def _read(mask: object, folder: Path, file: Path, where: str) -> EncodedMask:
    if isinstance(mask, str):
        path = folder / mask
        if not path.is_file():
            raise DataError(f'{file}: {where}: {path} is missing. Put it there or take the row out.', file=path, record=where)
        return {'png': str(path)}
    if mask == []:
        return {'segmentations': []}
    size = mask.get('size') if isinstance(mask, dict) else None
    if isinstance(mask, dict) and (not isinstance(size, list) or len(size) != 2 or 'counts' not in mask):
        raise DataError(
            f'{file}: {where}: an RLE needs size [height, width] and counts; keys found: {sorted(mask)}.', file=file, record=where
        )
    if isinstance(mask, dict):
        if isinstance(mask['counts'], list):
            try:
                return {'rle': encode_segmentation(mask, *size)[0]}  # type: ignore[misc] - two numbers, seen above
            except ValueError as error:
                raise DataError(f'{file}: {where}: {error}. Redo the mask.', file=file, record=where) from error
        return {'rle': RLE(size=size, counts=mask['counts'])}  # pyright: ignore[reportArgumentType] - a list, seen above
    try:
        return {'segmentations': _parts(mask)}
    except (ValueError, TypeError) as error:
        raise DataError(f'{file}: {where}: {error}. Redo the mask.', file=file, record=where) from error


def _parts(mask: object) -> list[Polygon | RLE]:
    """A polygon of points, a flat one, or several."""
    if not isinstance(mask, list):
        raise ValueError(f'it is a {type(mask).__name__}; a path, an RLE or a polygon is needed')
    points = all(isinstance(p, list) and len(p) == 2 and all(isinstance(v, (int, float)) for v in p) for p in mask)
    flat = all(isinstance(v, (int, float)) for v in mask)
    parts = [mask] if points or flat else mask
    encoded = []
    for part in parts:
        if isinstance(part, dict):
            encoded += encode_segmentation(part, *part.get('size', [0, 0]))
        else:
            encoded += encode_segmentation([part], 0, 0)
    return encoded
