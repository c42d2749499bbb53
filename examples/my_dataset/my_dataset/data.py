"""A data set: boxes in a csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from lisa_mm.datasets.asking import Thing, ask_about
from lisa_mm.datasets.base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from lisa_mm.datasets.reading import read_csv
from lisa_mm.errors import DataError
from lisa_mm.registry import DATASETS

SIDES = ('left', 'top', 'right', 'bottom')


@DATASETS.register_module()
class BoxDataset(BaseSegDataset):
    """A csv with the columns image, name, left, top, right, bottom (pixels); the box is the mask.

    Args:
        data_root: Folder that contains the csv and the images.
        file: Name of the csv.
        options: See :class:`lisa_mm.datasets.base.BaseSegDataset`.
    """

    def __init__(self, data_root: str = '', *, file: str = 'train.csv', **options: Unpack[SegDatasetOptions]):
        self.file = file
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return self.file

    def source_files(self) -> list[Path]:
        return [Path(self.data_root) / self.file]

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        records: dict[str, dict[str, Any]] = {}
        for line, row in read_csv(path, ('image', 'name', *SIDES), self.encoding):
            with self.guarded():  # all faulty lines are reported at once
                box = [self.number(row[side], f'{path}:{line}: {side}', path, line) for side in SIDES]
                if not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
                    raise DataError(f'{path}:{line}: the box {box} is empty or begins outside the image.', file=path, record=line)
                image = path.parent / row['image']
                check_file(image, 'the image', f'{path}:{line}')
                record = records.setdefault(row['image'], {'sample_id': row['image'], 'img_path': str(image), 'boxes': []})
                record['boxes'].append([row['name'], *box])
        return list(records.values())

    @staticmethod
    def number(text: str, where: str, path: Path, line: int) -> float:
        """A finite number."""
        try:
            value = float(text)
        except ValueError:
            value = float('nan')
        if not np.isfinite(value):
            raise DataError(f'{where} is {text!r}, a number is needed.', file=path, record=line)
        return value

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        things = [Thing(name, {'segmentations': [[x0, y0, x1, y0, x1, y1, x0, y1]]}) for name, x0, y0, x1, y1 in record['boxes']]
        return ask_about(things, 3, rng, test_mode=self.test_mode, wording=self.wording)
