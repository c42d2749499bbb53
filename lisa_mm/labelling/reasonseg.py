"""Labels in the layout of ReasonSeg, for :class:`lisa_mm.datasets.ReasonSegDataset` and the published program."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from ..datasets.reading import read_json
from ..datasets.reason_seg import IMAGE_SUFFIXES
from ..errors import DataError
from .files import write_atomically
from .item import LabelItem
from .labelme import AS_BITMAP, VERSION, shapes_of_mask
from .writer import NO_MASK, LabelWriter

EMPTY = 'masks without a pixel: nothing is the target'
UNITED = 'answers of several masks: their union is the target'
COPIED = 'images copied, as a link to them was not possible'
NOT_PUBLISHED = 'images that the published program does not find, which takes .jpg alone'
LONGEST = 180  # bytes of a stem; file systems take 255 with suffix and number


class ReasonSegLabels(LabelWriter):
    """``out/reason_seg/ReasonSeg/<split>/<name>.json`` with the image beside it.

    Every question has its own pair of json and image, as the published program reads them: ``a.json`` and ``a.jpg``, then
    ``a_2.json`` and ``a_2.jpg``. The image is a hard link, which takes no space, or a copy where links are not possible.
    Subfolders become part of the name: ``x/a.jpg`` is ``x__a.jpg``. Polygons are as in :class:`.labelme.LabelmeLabels`. Answer,
    scores and the image's own path stand in ``otherData``. All masks of an answer are one target.

    Args:
        out, images: See :class:`LabelWriter`.
        tolerance: See :func:`.outlines.polygons_of_mask`.
        split: 'train', 'val' or 'test'.
    """

    def __init__(self, out: str | Path, *, images: str | Path, tolerance: float = 0.0, split: str = 'train'):
        super().__init__(out, images=images)
        self.tolerance = tolerance
        self.folder = self.out / 'reason_seg' / 'ReasonSeg' / split
        self.folder.mkdir(parents=True, exist_ok=True)

    def _add(self, item: LabelItem, name: str) -> bool:
        if not item.rles:
            self.notes[NO_MASK] += 1
            return False
        path, image = self._place(item, name)
        if path.exists():
            return self._known()
        shapes = []
        for mask in item.masks:
            self.notes[EMPTY] += not mask.any()
            drawn = shapes_of_mask(mask, self.tolerance)
            self.notes[AS_BITMAP] += any(shape['shape_type'] == 'mask' for shape in drawn)
            shapes += [{'label': 'target', 'labels': ['target'], 'image_name': image.name, **shape} for shape in drawn]
        self.notes[UNITED] += len(item.rles) > 1
        self.notes[NOT_PUBLISHED] += image.suffix != '.jpg'
        content = {
            'version': VERSION,
            'flags': {},
            'text': [item.label],
            'is_sentence': item.is_sentence,
            'shapes': [{**shape, 'group_id': None, 'flags': {}} for shape in shapes],
            'imagePath': image.name,
            'imageData': None,
            'imageHeight': item.height,
            'imageWidth': item.width,
            'otherData': {'image': name, 'answer': item.text, 'scores': list(item.scores)},
        }
        self._link(item.image, image)
        write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1))
        return True

    def _place(self, item: LabelItem, name: str) -> tuple[Path, Path]:
        """The json of this question, there already or not, and the image beside it."""
        stem = name.removesuffix(item.image.suffix).replace('/', '__').encode()[-LONGEST:].decode('utf-8', 'ignore')
        for number in count(1):
            path = self.folder / f'{stem}{"" if number == 1 else f"_{number}"}.json'
            image = path.with_name(f'{path.stem}{item.image.suffix}')
            if path.exists():
                if _question(path) == (name, item.label):
                    return path, image
                continue
            # an image that a run has left without its json is this one's, or another's
            beside = [path.with_name(f'{path.stem}{suffix}') for suffix in {*IMAGE_SUFFIXES, item.image.suffix}]
            if all(other == image and filecmp.cmp(other, item.image, shallow=False) for other in beside if other.exists()):
                return path, image
        raise AssertionError

    def _link(self, source: Path, image: Path) -> None:
        if image.exists():
            return
        try:
            os.link(os.path.realpath(source), image)
        except OSError:
            temporary = image.with_name(f'.{image.name}.tmp')
            shutil.copyfile(source, temporary)
            os.replace(temporary, image)
            self.notes[COPIED] += 1


def _question(path: Path) -> tuple[Any, Any]:
    """The image and the label that a json of this writer holds."""
    try:
        content = read_json(path)
        return content['otherData']['image'], content['text'][0]
    except (DataError, KeyError, TypeError, IndexError):
        return None, None
