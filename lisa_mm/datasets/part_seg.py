"""Objects and their parts: PACO-LVIS and PASCAL-Part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from .asking import Thing, ask_about, rows_about
from .base import Asked, BaseSegDataset, SegDatasetOptions
from .coco import CocoFile
from .masks import encode_segmentation
from .record_formats import CocoAnnotation

# name -> annotation file, image folder
LAYOUTS = {
    'paco_lvis': ('vlpart/paco/annotations/paco_lvis_v1_train.json', 'coco'),
    'pascal_part': ('vlpart/pascal_part/train.json', 'vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages'),
}


@DATASETS.register_module()
class PartSegDataset(BaseSegDataset):
    """A COCO json whose categories are objects (``dog``) and parts (``dog:left eye``).

    Up to ``parts_per_image`` annotations of an image are asked for; a part is called "dog left eye" or "the left eye of the dog",
    with equal probability. Images without annotations are left out and counted.

    Args:
        data_root: Folder that contains ``vlpart``, and ``coco`` for PACO.
        name: 'paco_lvis' or 'pascal_part'.
        parts_per_image: Maximum number in training.
        options: See :class:`BaseSegDataset`.
    """

    CHOICES = {'name': tuple(LAYOUTS)}

    def __init__(
        self,
        data_root: str = '',
        *,
        name: str = 'paco_lvis',
        parts_per_image: int = 3,
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(name=name)
        self.name = name
        self.parts_per_image = parts_per_image
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return self.name

    @property
    def _file(self) -> Path:
        return Path(self.data_root) / LAYOUTS[self.name][0]

    def source_files(self) -> list[Path] | None:
        return [self._file]

    def load_data_list(self) -> list[dict[str, Any]]:
        content = CocoFile(self._file, self.encoding, self.notes)
        self.faults += content.collisions
        records: dict[Any, dict[str, Any]] = {}
        for number in content.annotations:
            with self.guarded():
                self._add(content.annotation(number), f'annotation {number}', content, records)
        for number in content.image_ids:
            if number not in records:
                self.leave_out('no annotation')
        found = [record for record in records.values() if record['parts']]
        return found

    def _add(self, annotation: CocoAnnotation, where: str, content: CocoFile, records: dict[Any, dict[str, Any]]) -> None:
        number = annotation['image_id']
        image = content.image(number, where, self._file)
        category = content.category(annotation.get('category_id'), where)
        # keep the record even if its annotations are broken: the image does have annotations
        path = Path(self.data_root) / LAYOUTS[self.name][1] / image['file_name']
        record = records.setdefault(
            number, {'sample_id': f'{self.name}/{image["file_name"]}', 'img_path': str(path), 'parts': []}
        )
        try:
            masks = encode_segmentation(annotation['segmentation'], (image['height'], image['width']))
        except ValueError as error:
            raise DataError(f'{self._file}: {where}: {error}. Mend or delete it.', file=self._file, record=where) from error
        if not record['parts'] and not path.is_file():
            raise DataError(f'{self._file}: {where}: its image {path} is missing.', file=path, record=where)
        size = [image['height'], image['width']]
        record['parts'].append({'texts': spellings(category['name']), 'mask': {'segmentations': masks, 'size': size}})

    @staticmethod
    def things(record: dict[str, Any]) -> list[Thing]:
        """All annotations of an image, as things to ask for."""
        return [Thing(part['texts'], part['mask']) for part in record['parts']]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return ask_about(self.things(record), self.parts_per_image, rng, test_mode=self.test_mode, wording=self.wording)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return rows_about(self.things(record))


def spellings(category: str) -> list[str]:
    """Names of a category in questions; a meaning in brackets is left out.

    >>> spellings('mouse_(computer_equipment):left_button')
    ['mouse left_button', 'the left_button of the mouse']
    """
    names = [piece.split('_(')[0] for piece in category.strip().split(':')]
    if len(names) == 1:
        return names
    return [f'{names[0]} {names[1]}', f'the {names[1]} of the {names[0]}']
