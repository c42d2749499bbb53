"""COCO jsons: images, annotations and categories by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError
from .formats import Format, shortly
from .reading import read_json
from .record_formats import (
    COCO_ANNOTATION,
    COCO_CATEGORY,
    COCO_IMAGE,
    COCO_LISTS,
    CocoAnnotation,
    CocoCategory,
    CocoImage,
)

T = TypeVar('T')

# the fields that decide images, texts and masks: two entries with one id must agree in them
MATTERS = {
    'image': ('file_name', 'height', 'width'),
    'annotation': ('image_id', 'category_id', 'segmentation'),
    'category': ('name',),
}


class CocoFile:
    """A COCO json. An entry is checked when it is asked for: files hold many that no question is about.

    Args:
        path: The file.
        encoding: See :func:`lisa_mm.datasets.encodings.read_text`.
        notes: Counts what is worth a note: unknown fields, entries that are there twice.

    Attributes:
        collisions: One error per id with two different entries; asking for such an entry raises it.

    Raises:
        DataError: if the file does not have this form.
    """

    def __init__(self, path: Path, encoding: str | None = None, notes: Counter[str] | None = None):
        self.path = path
        self.notes: Counter[str] = Counter() if notes is None else notes
        self.collisions: list[DataError] = []
        self._broken: dict[tuple[str, Any], DataError] = {}
        content = COCO_LISTS.read(read_json(path, encoding), path, notes=self.notes)
        self._images = self._by_id(content['images'], COCO_IMAGE)
        self.annotations = self._by_id(content['annotations'], COCO_ANNOTATION)
        self._categories = self._by_id(content['categories'], COCO_CATEGORY)
        self._checked: dict[tuple[str, Any], Any] = {}

    @property
    def image_ids(self) -> Sequence[Any]:
        """Ids of the images, in file order."""
        return list(self._images)

    def _by_id(self, entries: list[Any], kind: Format[Any]) -> dict[Any, tuple[int, Any]]:
        found: dict[Any, tuple[int, Any]] = {}
        for place, entry in enumerate(entries):
            number = entry.get('id') if isinstance(entry, dict) else None
            if isinstance(number, bool) or not isinstance(number, int | str):
                # its format says what is wrong
                found[kind.name, place] = (place, entry)
                continue
            if number not in found:
                found[number] = (place, entry)
                continue
            first, other = found[number]
            if _same(entry, other, MATTERS[kind.name]):
                self.notes[f'{self.path.name}: {kind.name} entries that are there twice, equal'] += 1
                continue
            error = DataError(
                f'{self.path}: {kind.name}s {first} and {place} of the file have the same id {number!r} but differ: '
                f'{_difference(other, entry, MATTERS[kind.name])}. Merged files need new ids: renumber one of them.',
                file=self.path,
                record=f'{kind.name} {number}',
            )
            self.collisions.append(error)
            self._broken[kind.name, number] = error
        return found

    def image(self, number: object, where: str, file: Path) -> CocoImage:
        """An image's entry, checked; errors name ``where`` in ``file``."""
        if number not in self._images:
            raise DataError(
                f'{file}: {where} names image {number!r}, which is not among the images of {self.path.name}.',
                file=file,
                record=where,
            )
        return self._entry(COCO_IMAGE, number, self._images)

    def annotation(self, number: object) -> CocoAnnotation:
        """An annotation, checked."""
        return self._entry(COCO_ANNOTATION, number, self.annotations)

    def category(self, number: object, where: str) -> CocoCategory:
        """A category, checked; an error names ``where``."""
        if number not in self._categories:
            raise DataError(
                f'{self.path}: {where}: category {number!r} is not among its {len(self._categories)} categories.',
                file=self.path,
                record=where,
            )
        return self._entry(COCO_CATEGORY, number, self._categories)

    def _entry(self, kind: Format[T], number: Any, entries: Mapping[Any, tuple[int, Any]]) -> T:
        key = (kind.name, number)
        if key in self._broken:
            raise self._broken[key]
        if key not in self._checked:
            place, entry = entries[number]
            named = f'{kind.name} {number}' if not isinstance(number, tuple) else f'{kind.name}s[{place}]'
            self._checked[key] = kind.read(entry, self.path, named, self.notes)
        return self._checked[key]


def _same(one: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return all(one.get(key) == other.get(key) for key in keys)


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> str:
    key = next(key for key in keys if one.get(key) != other.get(key))
    return f'{key} is {shortly(one.get(key))} and {shortly(other.get(key))}'
