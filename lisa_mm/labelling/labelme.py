"""Labels as labelme opens them: one json for each image, with polygons that a person can correct."""

from __future__ import annotations

import base64
import io
import json
import os
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.reading import read_json
from ..errors import DataError
from .files import write_atomically
from .item import LabelItem
from .outlines import polygons_of_mask
from .writer import EMPTY, LabelWriter

VERSION = '5.5.0'  # of labelme, whose fields these are
SAME_STEM = 'images whose json has another name, as the usual one is taken: open the json, labelme does not find it by the image'
AS_BITMAP = 'masks as bitmaps (shape_type "mask"), as polygons cannot hold them'


class LabelmeLabels(LabelWriter):
    """``out/<the image's path>.json``.

    The question is the label of its shapes. Every part of a mask is a polygon; a hole is joined to the outline by a line that
    goes there and back. Parts of one mask have one ``group_id``. Drawn again, polygons give exactly the mask; a mask that they
    cannot hold is a shape of the type "mask". The flags of the image are the questions asked, true if a mask was found: a
    question that is there is not labelled again, so shapes that were corrected or deleted stay so.

    Args:
        out, images: See :class:`LabelWriter`.
        tolerance: See :func:`.outlines.polygons_of_mask`.
    """

    def __init__(self, out: str | Path, *, images: str | Path, tolerance: float = 0.0):
        super().__init__(out, images=images)
        self.tolerance = tolerance

    def _add(self, item: LabelItem, name: str) -> bool:
        path, content = self._open(item, name)
        if item.label in content['flags']:
            return self._known()
        groups = [shape.get('group_id') for shape in content['shapes']]
        first = 1 + max((group for group in groups if isinstance(group, int)), default=-1)
        shapes = []
        for number, mask in enumerate(item.masks):
            more = {'group_id': first + number, 'description': item.text, 'flags': {}, **item.score(number)}
            self.notes[EMPTY] += not mask.any()
            drawn = shapes_of_mask(mask, self.tolerance)
            self.notes[AS_BITMAP] += any(shape['shape_type'] == 'mask' for shape in drawn)
            shapes += [{'label': item.label, **shape, **more} for shape in drawn]
        content['shapes'] += shapes
        content['flags'][item.label] = bool(shapes)
        write_atomically(path, json.dumps(content, ensure_ascii=False, indent=2))
        return True

    def _open(self, item: LabelItem, name: str) -> tuple[Path, dict[str, Any]]:
        """The image's json, which may be new, and its content."""
        usual = self.out / Path(name).with_suffix('.json')
        own = self.out / f'{name}.json'  # with the image's suffix
        for path in chain((usual, own), (own.with_name(f'{own.stem}_{number}.json') for number in count(2))):
            content = _content(path, item)
            if content is not None:
                self.notes[SAME_STEM] += path != usual and not path.exists()
                return path, content
        raise AssertionError


def shapes_of_mask(mask: np.ndarray, tolerance: float = 0.0) -> list[dict[str, Any]]:
    """A mask (H, W) as shapes of labelme: type and points; none for an empty mask."""
    polygons = polygons_of_mask(mask, corners=False, tolerance=tolerance)
    if polygons is not None:
        return [{'points': polygon, 'shape_type': 'polygon', 'mask': None} for polygon in polygons]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corners = [[int(columns[0]), int(rows[0])], [int(columns[-1]), int(rows[-1])]]
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    file = io.BytesIO()
    Image.fromarray(inner.astype(np.uint8) * 255).save(file, 'PNG')
    return [{'points': corners, 'shape_type': 'mask', 'mask': base64.b64encode(file.getvalue()).decode()}]


def _content(path: Path, item: LabelItem) -> dict[str, Any] | None:
    """What the image's json holds; None if the file is another image's, or no labelme json."""
    if not path.exists():
        return {
            'version': VERSION,
            'flags': {},
            'shapes': [],
            'imagePath': Path(os.path.relpath(item.image, path.parent)).as_posix(),
            'imageData': None,
            'imageHeight': item.height,
            'imageWidth': item.width,
        }
    try:
        content = read_json(path)
    except DataError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get('shapes'), list):
        return None
    named = path.parent / str(content.get('imagePath')).replace('\\', '/')
    if os.path.abspath(named) != os.path.abspath(item.image):
        return None
    return {**content, 'flags': content.get('flags') or {}}
