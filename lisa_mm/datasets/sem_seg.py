"""Label maps: ADE20K, COCO-Stuff and Mapillary Vistas v2.0."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from typing_extensions import Unpack

from ..errors import ConfigError, DataError
from ..registry import DATASETS
from ..tokens import IGNORED
from .asking import Thing, ask_about, rows_about
from .base import Asked, BaseSegDataset, SegDatasetOptions
from .classes import class_names
from .encodings import check_encoding
from .mask_images import read_label_map
from .reading import read_json
from .record_formats import MAPILLARY

# 20,000 files take minutes to read, so report progress
MANY_FILES = 5000


@dataclass(frozen=True)
class Layout:
    """Folders of a data set below ``data_root``.

    Args:
        images: Folder of the jpg files.
        label_maps: Folder of the png files with the same names.
    """

    images: str
    label_maps: str


LAYOUTS = {
    'ade20k': Layout('ade20k/images/{split}', 'ade20k/annotations/{split}'),
    'cocostuff': Layout('coco/{split}', 'cocostuff/{split}'),
    'mapillary': Layout('mapillary/{split}/images', 'mapillary/{split}/v2.0/labels'),
}
SPLITS = {'ade20k': 'training', 'cocostuff': 'train2017', 'mapillary': 'training'}
# names that no user would ask for; the original asked for them
NEVER_ASKED = ('unlabeled', 'ego vehicle')


@DATASETS.register_module()
class SemSegDataset(BaseSegDataset):
    """A folder of images and one of label maps; asks for up to ``classes_per_image`` classes per image.

    ADE20K: png value 0 is ignored, value v is class v - 1. COCO-Stuff: classes with "-" in their names are ignored. Mapillary:
    names come from ``readable`` in ``config_v2.0.json``; classes with equal names stay separate. 255 is always ignored.
    Images without any class are left out beforehand and counted.

    Args:
        data_root: Folder that contains the folders of :data:`LAYOUTS`.
        name: 'ade20k', 'cocostuff' or 'mapillary'.
        split: Split in the folders' names; by default the training split.
        classes_per_image: Maximum number in training.
        never_asked: Lower-case names that are never asked for.
        options: See :class:`BaseSegDataset`.
    """

    CHOICES = {'name': tuple(LAYOUTS)}

    def __init__(
        self,
        data_root: str = '',
        *,
        name: str = 'ade20k',
        split: str | None = None,
        classes_per_image: int = 3,
        never_asked: tuple[str, ...] | list[str] = NEVER_ASKED,
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(name=name)
        self.name = name
        self.split = split or SPLITS[name]
        self.classes_per_image = classes_per_image
        self.never_asked = list(never_asked)
        self.names = value_names(name, data_root, options.get('encoding'))
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'{self.name} {self.split}'

    @property
    def _folders(self) -> tuple[Path, Path]:
        layout = LAYOUTS[self.name]
        root = Path(self.data_root)
        return root / layout.images.format(split=self.split), root / layout.label_maps.format(split=self.split)

    def source_files(self) -> list[Path] | None:
        images, maps = self._folders
        return [images, *sorted(maps.glob('*.png'))]

    def load_data_list(self) -> list[dict[str, Any]]:
        images, maps = self._folders
        for folder in (images, maps):
            if not folder.is_dir():
                raise DataError(f'{self.title}: {folder} is no folder. Look at data_root and split.', file=folder)
        have = set(os.listdir(images))
        paths = sorted(maps.glob('*.png'))
        if len(paths) > MANY_FILES:
            print_log(f'{self.title}: reading {len(paths)} label maps for the classes they hold; once, then kept', 'current')
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
            found = list(threads.map(self._values, paths))
        records = []
        for path, values in zip(paths, found, strict=True):
            with self.guarded():
                if isinstance(values, DataError):
                    raise values
                image = images / (path.stem + '.jpg')
                if image.name not in have:
                    raise DataError(
                        f'{path}: its image {image} is missing. Put it there or take the label map out.',
                        file=image,
                        record=path.name,
                    )
                asked = [value for value in self._checked(path, values) if self.name_of(value) not in self.never_asked]
                if not asked:
                    self.leave_out('no class that can be asked for')
                    continue
                records.append(
                    {
                        'sample_id': f'{self.name}/{image.name}',
                        'img_path': str(image),
                        'label_map': str(path),
                        'values': asked,
                    }
                )
        for name in sorted(have - {path.stem + '.jpg' for path in paths}):
            # COCO's folder is shared with other data sets
            if name.endswith('.jpg') and self.name != 'cocostuff':
                with self.guarded():
                    raise DataError(
                        f'{images / name}: its label map {maps / (Path(name).stem + ".png")} is missing. '
                        'Put it there or take the image out.',
                        file=maps / (Path(name).stem + '.png'),
                        record=name,
                    )
        return records

    @staticmethod
    def _values(path: Path) -> np.ndarray | DataError:
        try:
            values = read_label_map(path)
        except DataError as error:
            return error
        return np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else np.unique(values)

    def _checked(self, path: Path, values: np.ndarray) -> list[int]:
        """The values that are classes; a value that is neither a class nor ignored is a fault."""
        unknown = [int(v) for v in values if v != IGNORED and not 0 <= v < len(self.names)]
        if unknown:
            raise DataError(
                f'{path}: holds the values {unknown[:5]}, but {self.name} has {len(self.names)} values. Redo the label map.',
                file=path,
                record=f'values {unknown[:5]}',
            )
        return [int(v) for v in values if v != IGNORED and self.name_of(int(v)) is not None]

    def name_of(self, value: int) -> str | None:
        """The class of a png value; None if it is ignored."""
        return self.names[value]

    def things(self, record: dict[str, Any]) -> list[Thing]:
        """The classes of an image, in the order of png values."""
        path = record['label_map']
        return [Thing(str(self.name_of(v)), {'label_map': path, 'value': v}) for v in record['values']]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return ask_about(self.things(record), self.classes_per_image, rng, test_mode=self.test_mode, wording=self.wording)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return rows_about(self.things(record))


def value_names(name: str, data_root: str | Path, encoding: str | None = None) -> list[str | None]:
    """The class of each png value of a data set; None if it is ignored."""
    if name == 'ade20k':
        return [None, *class_names('ade20k')]
    if name == 'cocostuff':
        return [None if '-' in label else label for label in class_names('cocostuff')]
    path = Path(data_root) / 'mapillary' / 'config_v2.0.json'
    if faults := check_encoding(encoding, 'SemSegDataset'):
        raise ConfigError(faults)
    return [label['readable'].lower() for label in MAPILLARY.read(read_json(path, encoding), path)['labels']]
