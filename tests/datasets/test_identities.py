"""An image has one identity on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lisa_mm.datasets import BaseSegDataset, MixtureDataset
from lisa_mm.datasets.base import Asked
from lisa_mm.datasets.identities import PIECE, identities, identity_text
from lisa_mm.datasets.index import RecordIndex
from lisa_mm.datasets.leaks import image_paths
from lisa_mm.datasets.parquet import image_address

from .golden_root import GOLDEN


class Listed(BaseSegDataset):
    """A plugin without source files; its records begin with another key."""

    def __init__(self, root: Path, names: list[Any]):
        self.names = names
        super().__init__(str(root))

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{'note': '"img_path":"no"', 'sample_id': str(n), 'img_path': name} for n, name in enumerate(self.names)]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return Asked([], [])


def in_folder(root: Path, files: dict[str, int]) -> list[str]:
    root.mkdir(exist_ok=True)
    for name, size in files.items():
        (root / name).write_bytes(bytes(size))
    return [str(root / name) for name in files]


def test_a_copy_of_the_data_has_the_same_identities(tmp_path):
    files = {'1.jpg': 10, 'a "quoted" ü.png': 20, 'COCO_val2014_000000000042.jpg': 30}
    one, two = (Listed(tmp_path, in_folder(tmp_path / name, files)) for name in ('a', 'b'))
    assert len(identities(one)) == 3
    assert np.array_equal(identities(one), identities(two))


def test_coco_numbers_need_no_file():
    names = [f'/nowhere/{folder}{42:012d}.jpg' for folder in ('train2017/', 'val2017/', 'x/COCO_train2014_', 'COCO_val2014_')]
    assert {identity_text(name) for name in names} == {'coco:42'}
    assert identity_text('/nowhere/000000000043.jpg') == 'coco:43'


def test_a_number_that_is_not_cocos_is_a_name(tmp_path):
    (path,) = in_folder(tmp_path, {'42.jpg': 7})
    assert identity_text(path) == 'file:42.jpg:7'


def test_size_tells_files_of_one_name_apart(tmp_path):
    paths = in_folder(tmp_path / 'a', {'1.jpg': 10}) + in_folder(tmp_path / 'b', {'1.jpg': 11})
    assert len(identities(Listed(tmp_path, paths))) == 2


def test_each_image_once_and_records_without_one_none(tmp_path):
    (path,) = in_folder(tmp_path, {'1.jpg': 10})
    assert len(identities(Listed(tmp_path, [path, None, path]))) == 1
    assert identities(Listed(tmp_path, [None])).tolist() == []


def test_an_address_that_is_no_file_counts_by_its_text_below_the_root(tmp_path):
    roots = [tmp_path / 'a', tmp_path / 'b']
    for root in roots:
        root.mkdir()
    found = [identities(Listed(root, [f'{root}/shard.tar#3', f'{root}/shard.tar#4'])) for root in roots]
    assert len(found[0]) == 2
    assert np.array_equal(*found)


def test_more_images_than_a_piece(tmp_path):
    paths = [f'/nowhere/{n:012d}.jpg' for n in range(2 * PIECE + 1)]
    found = identities(Listed(tmp_path, paths))
    assert len(found) == len(paths)
    assert found.dtype == np.uint64
    assert (np.diff(found.astype(object)) > 0).all()


@pytest.mark.parametrize('sets', ['ade20k', 'cocostuff', 'mapillary'])
def test_the_short_way_to_image_paths_gives_what_the_records_say(sets):
    mixture = MixtureDataset({'sem_seg': [dict(type='SemSegDataset', name=sets, data_root=str(GOLDEN))]})
    (dataset,) = mixture.members()
    assert image_paths(dataset) == [dataset.get_data_info(n)['img_path'] for n in range(len(dataset))]


def test_the_short_way_over_odd_records():
    first = [
        {'sample_id': text, 'img_path': text, 'more': {'img_path': 'no'}} for text in ('a', 'ü"\\', '\\"', '', '\n\x00', '}{')
    ]
    others = [{'img_path': 'x', 'sample_id': 's'}, {'sample_id': 5, 'img_path': 'x'}, {'sample_id': 's', 'img_path': None}]
    records = [*first, *others]
    index = RecordIndex.from_records(records)
    assert index.image_paths() == [record['img_path'] for record in records]
    assert index.select(np.array([7, 1])).image_paths() == ['x', 'ü"\\']
    assert RecordIndex.from_records([]).image_paths() == []


def test_an_image_inside_a_parquet_file_is_the_same_as_its_file(tmp_path):
    rows = pa.table({'image': [{'bytes': bytes(size), 'path': None} for size in (10, 11, 10)]})
    pq.write_table(rows, tmp_path / 'a.parquet')
    addresses = [image_address(tmp_path / 'a.parquet', row, name) for row, name in enumerate(('1.jpg', '2.jpg', '2.jpg'))]
    packed = identities(Listed(tmp_path, addresses))
    assert len(packed) == 3  # of one name, but not of one size
    assert np.isin(identities(Listed(tmp_path, in_folder(tmp_path / 'd', {'1.jpg': 10, '2.jpg': 11}))), packed).all()
    coco = str(tmp_path / 'nowhere.parquet#0/COCO_val2014_000000000042.jpg')
    assert identity_text(coco) == 'coco:42'
    (file,) = in_folder(tmp_path / 'd', {'000000000042.jpg': 1})
    assert np.array_equal(identities(Listed(tmp_path, [coco, file])), identities(Listed(tmp_path, [file])))
