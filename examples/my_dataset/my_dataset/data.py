"""A data set: boxes in a csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from lisa_mm.datasets.asking import Thing, ask_about
from lisa_mm.datasets.base import Asked, BaseSegDataset
from lisa_mm.errors import DataError
from lisa_mm.registry import DATASETS


@DATASETS.register_module()
class BoxDataset(BaseSegDataset):
    """``data_root/boxes.csv`` with the columns image, name, left, top, right, bottom; the box is the mask.

    Args:
        data_root: Holds the csv and the images.
        pipeline, seed, test_mode: See :class:`BaseSegDataset`.
    """

    def __init__(self, data_root: str = '', *, pipeline: list[Any] | None = None, seed: int = 0, test_mode: bool = False):
        super().__init__(data_root, pipeline=pipeline, seed=seed, test_mode=test_mode)

    def source_files(self) -> list[Path]:
        return [Path(self.data_root) / 'boxes.csv']

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / 'boxes.csv'
        records: dict[str, dict[str, Any]] = {}
        with path.open(newline='') as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                with self.guarded():
                    try:
                        box = [float(row[side]) for side in ('left', 'top', 'right', 'bottom')]
                    except (KeyError, TypeError, ValueError) as error:
                        raise DataError(
                            f'{path}:{number}: four numbers are needed ({error}).', file=path, record=number
                        ) from error
                    image = str(path.parent / row['image'])
                    record = records.setdefault(row['image'], {'sample_id': row['image'], 'img_path': image, 'boxes': []})
                    record['boxes'].append([row['name'], *box])
        return list(records.values())

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        things = [Thing(name, {'segmentations': [[x0, y0, x1, y0, x1, y1, x0, y1]]}) for name, x0, y0, x1, y1 in record['boxes']]
        return ask_about(things, 3, rng, test_mode=self.test_mode)
