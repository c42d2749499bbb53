"""Answers as labels that annotation tools and training read, so that a model labels and a person corrects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError, nearest
from .coco import CocoLabels
from .item import LabelItem, item_of_answer, label_item
from .jsonl import JsonlLabels
from .labelme import LabelmeLabels
from .reasonseg import ReasonSegLabels
from .writer import LabelWriter

KINDS = ('coco', 'labelme', 'reasonseg', 'jsonl')

__all__ = ['KINDS', 'LabelItem', 'LabelWriter', 'item_of_answer', 'label_item', 'open_labels', 'write_labels']


def open_labels(kind: str, out: str | Path, *, images: str | Path, polygons: bool = False, tolerance: float = 0.0) -> LabelWriter:
    """A writer of labels, to be used in a ``with`` block, or with :meth:`.writer.LabelWriter.finish` at the end.

    Args:
        kind: One of :data:`KINDS`.
        out: The folder of the labels. It may hold labels: what is there stays, and is not written again.
        images: The folder that the names of images begin at; all images lie in it or below.
        polygons: 'coco' alone: polygons in place of run lengths.
        tolerance: How far, in pixels, polygons may be from the border, for fewer points to move; by default they are exact.

    Raises:
        UserError: for another kind, or an option that the kind does not have.
    """
    if kind not in KINDS:
        raise UserError(f'labels as {kind!r}; allowed: {", ".join(KINDS)}.{nearest(kind, KINDS)}')
    if polygons and kind != 'coco':
        raise UserError(f'polygons=True is for coco; {kind} has {"run lengths" if kind == "jsonl" else "polygons"} always.')
    if not 0 <= tolerance <= 100:
        raise UserError(f'tolerance={tolerance}; give a number of pixels from 0 to 100, such as 1.')
    if tolerance and (kind == 'jsonl' or (kind == 'coco' and not polygons)):
        raise UserError(f'tolerance={tolerance} is for polygons; {kind} gets run lengths, which are exact.')
    if kind == 'coco':
        return CocoLabels(out, images=images, polygons=polygons, tolerance=tolerance)
    if kind == 'jsonl':
        return JsonlLabels(out, images=images)
    return (LabelmeLabels if kind == 'labelme' else ReasonSegLabels)(out, images=images, tolerance=tolerance)


def write_labels(
    kind: str,
    items: Iterable[LabelItem],
    out: str | Path,
    *,
    images: str | Path,
    polygons: bool = False,
    tolerance: float = 0.0,
) -> tuple[list[Path], Counter[str]]:
    """Write labels that come one by one; arguments as in :func:`open_labels`.

    Returns:
        The files or folders to open, and notes with their counts.
    """
    writer = open_labels(kind, out, images=images, polygons=polygons, tolerance=tolerance)
    for item in items:
        writer.add(item)
    return writer.finish(), +writer.notes
