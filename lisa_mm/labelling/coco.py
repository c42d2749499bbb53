"""Labels as one COCO json, which pycocotools, CVAT and most other tools open."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from pycocotools import mask as coco_mask

from ..datasets.run_lengths import decode_rle
from .files import GrowingFile
from .item import LabelItem
from .outlines import polygons_of_mask
from .writer import EMPTY, LabelWriter

# an importer that knows polygons alone may refuse a whole file for one mask that is none
MOST_RINGS = 1000
AS_RUNS = 'masks as run lengths, as polygons cannot hold them'


class CocoLabels(LabelWriter):
    """``out/annotations.json``, made at the end from ``out/coco_parts.jsonl``, to which every label is added as it comes.

    Every label (a question or phrase, on one line, without the recipe's request for a mask) is a category, every mask an
    annotation, every image that was asked about an image, also one without a mask. Ids count from 1 in the order in which things
    came, and keep when more labels come. Answers are not kept. If ``annotations.json`` was changed by somebody else since, it
    stays, and the new one is ``annotations_2.json``.

    Masks are run lengths: exact, small, and CVAT takes them as brush masks. ``polygons`` is for tools that know polygons alone,
    such as Label Studio's import: exact too, for their corners are corners of pixels, and holes are joined to the outline.

    Args:
        out, images: See :class:`LabelWriter`.
        polygons: Write polygons where they can hold the mask.
        tolerance: See :func:`.outlines.polygons_of_mask`; for polygons.
    """

    def __init__(self, out: str | Path, *, images: str | Path, polygons: bool = False, tolerance: float = 0.0):
        super().__init__(out, images=images)
        self.polygons = polygons
        self.tolerance = tolerance
        self.parts = GrowingFile(self.out / 'coco_parts.jsonl')
        if self.parts.cut:
            self.notes[f'{self.parts.path}: a last line that was cut was taken out'] += 1
        self._labels = {(row['image'], row['label']) for row in self._rows()}

    def _rows(self) -> Iterator[dict[str, Any]]:
        return (row for row in self.parts.rows() if 'label' in row)

    def _add(self, item: LabelItem, name: str) -> bool:
        if (name, item.label) in self._labels:
            return self._known()
        masks = [{'segmentation': rle, **item.score(number)} for number, rle in enumerate(item.rles)]
        self.parts.add({'image': name, 'height': item.height, 'width': item.width, 'label': item.label, 'masks': masks})
        self._labels.add((name, item.label))
        return True

    def finish(self) -> list[Path]:
        """Write the json; nothing but names is held in memory."""
        temporary = self.out / '.annotations.json.tmp'
        with temporary.open('w', encoding='utf-8') as file:
            self._write(file)
            file.flush()
            os.fsync(file.fileno())
        digest = _digest(temporary)
        written = {row['written'] for row in self.parts.rows() if 'written' in row}
        number = 1
        while True:
            path = self.out / ('annotations.json' if number == 1 else f'annotations_{number}.json')
            if not path.exists() or _digest(path) in written:
                break
            self.notes[f'{path} was changed since it was written: it stays, the labels are in another file'] += 1
            number += 1
        if digest not in written:
            self.parts.add({'written': digest})
        os.replace(temporary, path)
        return [path]

    def _write(self, file: TextIO) -> None:
        images: dict[str, dict[str, Any]] = {}
        labels: dict[str, int] = {}
        for row in self._rows():
            size = {'height': row['height'], 'width': row['width']}
            images.setdefault(row['image'], {'id': len(images) + 1, 'file_name': row['image'], **size})
            labels.setdefault(row['label'], len(labels) + 1)
        categories = ({'id': number, 'name': label, 'supercategory': ''} for label, number in labels.items())
        file.write('{"info": {"description": "masks of a lisa_mm model"}, "licenses": [],\n')
        _write_list(file, 'images', iter(images.values()))
        _write_list(file, 'categories', categories)
        _write_list(file, 'annotations', self._annotations(images, labels), end='}\n')

    def _annotations(self, images: dict[str, dict[str, Any]], labels: dict[str, int]) -> Iterator[dict[str, Any]]:
        number = 0
        for row in self._rows():
            for mask in row['masks']:
                rle = mask['segmentation']
                area = int(coco_mask.area(rle))
                if not area:
                    self.notes[EMPTY] += 1
                    continue
                number += 1
                yield {
                    'id': number,
                    'image_id': images[row['image']]['id'],
                    'category_id': labels[row['label']],
                    'segmentation': self._segmentation(rle),
                    'bbox': [float(side) for side in np.asarray(coco_mask.toBbox(rle))],
                    'area': area,
                    'iscrowd': 0,
                    **({'score': mask['score']} if 'score' in mask else {}),
                }

    def _segmentation(self, rle: Any) -> Any:
        if not self.polygons:
            return rle
        polygons = polygons_of_mask(decode_rle(rle) == 1, corners=True, tolerance=self.tolerance, most_rings=MOST_RINGS)
        if polygons is None:
            self.notes[AS_RUNS] += 1
            return rle
        return [[value for point in polygon for value in point] for polygon in polygons]


def _write_list(file: TextIO, name: str, entries: Iterator[dict[str, Any]], *, end: str = ',\n') -> None:
    file.write(f'"{name}": [')
    for number, entry in enumerate(entries):
        file.write((',\n' if number else '\n') + json.dumps(entry, ensure_ascii=False))
    file.write(f']{end}')


def _digest(path: Path) -> str:
    digest = hashlib.blake2b()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
