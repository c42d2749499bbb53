"""Addresses of images inside parquet files, beside paths of files."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lisa_mm.datasets.images import image_size, read_image
from lisa_mm.datasets.parquet import file_size, image_address, is_address, open_file, unpack
from lisa_mm.errors import DataError


@pytest.fixture
def packed(tmp_path):
    """A file of three rows in groups of two; the image of row n is n + 1 pixels wide, row 1 has none."""
    contents = []
    for n in range(3):
        file = io.BytesIO()
        Image.new('RGB', (n + 1, 2), (n, 0, 0)).save(file, 'png')
        contents.append(None if n == 1 else file.getvalue())
    path = tmp_path / 'a.parquet'
    pq.write_table(pa.table({'image': pa.array(contents, pa.binary())}), path, row_group_size=2)
    return path, contents


@pytest.mark.parametrize(
    ('path', 'inside'),
    [
        ('/a/x.parquet#0/b.jpg', True),
        ('/a/x.parquet#12/', True),
        ('/a#1/x.parquet#3/b#2.jpg', True),
        ('/a/x.parquet', False),
        ('/a/x.parquet#b.jpg', False),
        ('/a/x.parquet#0/b/c.jpg', False),
        ('/a/x.parquet/1.jpg', False),
        ('.parquet#0/b.jpg', False),
    ],
)
def test_what_is_an_address(path, inside):
    assert is_address(path) is inside


def test_an_address_keeps_the_last_part_of_a_name():
    assert image_address(Path('/a/x.parquet'), 3, '/home/me/COCO_1.jpg') == '/a/x.parquet#3/COCO_1.jpg'


def test_the_image_of_a_row(packed):
    path, contents = packed
    for n in (2, 0, 2):
        address = image_address(path, n, 'b.png')
        assert image_size(address) == (2, n + 1)
        assert read_image(address)[0, 0].tolist() == [n, 0, 0]
        assert file_size(address) == len(contents[n])
        with open_file(address) as file:
            assert file.read() == contents[n]


def test_rows_without_an_image(packed):
    path, _ = packed
    for row, told in ((1, 'row 1: image has no bytes'), (3, r'has 3 rows; row 3 is asked for')):
        assert file_size(f'{path}#{row}/b.png') is None
        with pytest.raises(DataError, match=told):
            read_image(f'{path}#{row}/b.png')


def test_files_beside_it(packed, tmp_path):
    path, contents = packed
    (tmp_path / 'b.png').write_bytes(contents[2])
    assert file_size(tmp_path / 'b.png') == len(contents[2])
    assert image_size(tmp_path / 'b.png') == (2, 3)
    for missing in (tmp_path / 'c.png', tmp_path, f'{tmp_path}/c.parquet#0/b.png'):
        assert file_size(missing) is None
        with pytest.raises(DataError, match='is missing or unreadable'):
            read_image(missing)
    assert unpack(f'{path}#2/b.png', tmp_path / 'out').read_bytes() == contents[2]
    assert [file.name for file in (tmp_path / 'out').iterdir()] == ['a_2_b.png']
