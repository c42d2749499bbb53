"""Sa2VA's layout for fine-tuning: images whose objects have a phrase and polygons each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from .asking import Thing, ask_about, rows_about
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .masks import EncodedMask, encode_segmentation
from .reading import read_rows
from .record_formats import SA2VA


@DATASETS.register_module()
class Sa2VADataset(BaseSegDataset):
    """``data_root/annotations.json``, a list of ``{"image", "mask", "text"}``, with images below ``data_root/images``.

    ``mask`` holds a list of polygons ``[x, y, x, y, ...]`` for each object, which are united; an empty list is an empty mask.
    ``text`` holds a phrase for each object; it is asked for in lower case, without a full stop at its end (as by Sa2VA's own
    reader).

    Training: up to ``objects_per_image`` objects, each in its own conversation. Testing: all objects, each in its own
    conversation, with the answer in the prompt or left to the model.

    Args:
        data_root: Folder that contains ``file`` and ``image_folder``.
        file: Path of the json or jsonl below ``data_root``.
        image_folder: Image folder below ``data_root``.
        objects_per_image: Maximum number in training.
        options: See :class:`BaseSegDataset`.
    """

    def __init__(
        self,
        data_root: str = '',
        *,
        file: str = 'annotations.json',
        image_folder: str = 'images',
        objects_per_image: int = 3,
        **options: Unpack[SegDatasetOptions],
    ):
        self.file = file
        self.image_folder = image_folder
        self.objects_per_image = objects_per_image
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'Sa2VA {self.file}'

    def source_files(self) -> list[Path] | None:
        return [Path(self.data_root) / self.file, Path(self.data_root) / self.image_folder]

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        records = []
        for where, number, parse in read_rows(path, self.encoding):
            with self.guarded():
                record = self._record(parse(), path, where, number)
                if record['things']:
                    records.append(record)
                else:
                    self.leave_out('images without an object')
        return records

    def _record(self, raw: Any, path: Path, where: str, number: int) -> dict[str, Any]:
        row = SA2VA.read(raw, path, where, self.notes)
        image = Path(self.data_root) / self.image_folder / row['image']
        check_file(image, 'the image', f'{path}: {where}')
        things = []
        for place, (text, mask) in enumerate(zip(row['text'], row['mask'], strict=True)):
            phrase = text.strip().lower().removesuffix('.').strip()
            if not phrase:
                raise DataError(f'{path}: {where}: text[{place}] is {text!r}; a phrase is needed.', file=path, record=where)
            things.append({'text': phrase, 'mask': {'segmentations': encode_segmentation(mask)}})
        return {'sample_id': f'{path.name}:{number}', 'img_path': str(image), 'things': things}

    @staticmethod
    def things(record: dict[str, Any]) -> list[Thing]:
        """All objects of an image, in file order."""
        return [Thing(thing['text'], thing['mask']) for thing in record['things']]

    def objects(self, record: dict[str, Any]) -> list[EncodedMask]:
        return [thing['mask'] for thing in record['things']]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return ask_about(self.things(record), self.objects_per_image, rng, test_mode=self.test_mode, wording=self.wording)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return rows_about(self.things(record))
