"""Training images that are also in an evaluation split."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .base import BaseSegDataset
from .parquet import file_size, open_file

# a COCO number means the same image in train2014, val2014 and train2017
COCO_NAME = re.compile(r'(?:^|COCO_(?:train|val|test)20\d\d_)(\d{12})\.(?:jpg|jpeg|png)$')


@dataclass
class ImageSet:
    """Identities of the images of evaluation splits.

    Args:
        ids: Image ids, see :func:`image_id`, with their split.
        sizes: Sizes of the files in bytes.
        hashes: sha256 of the files, with their split.
    """

    ids: dict[str, str] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)
    hashes: dict[str, str] = field(default_factory=dict)

    def add(self, dataset: BaseSegDataset) -> None:
        """Add the images of a data set."""
        for path in image_paths(dataset):
            size = None if path is None else file_size(path)
            if path is None or size is None:
                continue
            self.ids.setdefault(image_id(path), dataset.title)
            self.sizes.add(size)
            self.hashes.setdefault(content_hash(path), dataset.title)

    def find(self, path: str) -> tuple[str, str] | None:
        """How an image was recognised ('image id' or 'content') and its split; None if it is unknown.

        Only files whose size occurs in the set are read: equal content has equal size.
        """
        split = self.ids.get(image_id(path))
        if split is not None:
            return 'image id', split
        if file_size(path) not in self.sizes:
            return None
        split = self.hashes.get(content_hash(path))
        return None if split is None else ('content', split)


def image_id(path: str) -> str:
    """The number of a COCO image, otherwise the real path: a name like ``1.jpg`` identifies nothing across data sets.

    >>> image_id('/a/COCO_train2014_000000000009.jpg') == image_id('/b/train2017/000000000009.jpg')
    True
    """
    match = COCO_NAME.search(os.path.basename(path))
    return f'coco:{int(match[1])}' if match else os.path.realpath(path)


@lru_cache(maxsize=100_000)
def content_hash(path: str) -> str:
    """sha256 of a file, as hex."""
    with open_file(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def image_paths(dataset: BaseSegDataset) -> list[str | None]:
    """The image of every record."""
    if type(dataset).get_data_info is not BaseSegDataset.get_data_info:
        return [dataset.get_data_info(n)['img_path'] for n in range(len(dataset))]
    dataset.full_init()
    return dataset.index.image_paths()


def find_leaks(dataset: BaseSegDataset, held_out: ImageSet) -> list[tuple[int, str, str]]:
    """(record, 'image id' or 'content', split) of each record whose image is held out."""
    found = []
    for number, path in enumerate(image_paths(dataset)):
        known = held_out.find(path) if path else None
        if known:
            found.append((number, *known))
    return found


def exclude(dataset: BaseSegDataset, held_out: ImageSet, titles: Sequence[str]) -> dict[str, int]:
    """Remove records of held-out images from a data set; returns how many, by kind of match."""
    leaks = find_leaks(dataset, held_out)
    if not leaks:
        return {}
    gone = {number for number, _, _ in leaks}
    dataset.restrict([n for n in range(len(dataset)) if n not in gone], f'image of {", ".join(titles)}')
    counts: dict[str, int] = {}
    for _, how, _ in leaks:
        counts[how] = counts.get(how, 0) + 1
    return counts
