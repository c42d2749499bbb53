"""ReasonSeg as parquet: masks as rows of bool, images inside the file, what is damaged or missing."""

from __future__ import annotations

import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmengine.config import Config
from PIL import Image

from lisa_mm.datasets import MixtureDataset, ReasonSegParquetDataset, parquet
from lisa_mm.datasets.images import image_size, read_image
from lisa_mm.datasets.index import CACHE_VARIABLE
from lisa_mm.datasets.leaks import ImageSet, find_leaks
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.doctor import check
from lisa_mm.doctor.convert import convert
from lisa_mm.errors import DataError, UserError

HEIGHT, WIDTH = 4, 6
FOLDER = 'reason_seg/ReasonSeg_test'
FILE = f'{FOLDER}/data/test-00000-of-00001.parquet'
# as datasets.Features(image=Image(), mask=Sequence(Sequence(Value('bool'))), ...) writes it
SCHEMA = pa.schema(
    [
        ('image', pa.struct([('bytes', pa.binary()), ('path', pa.string())])),
        ('mask', pa.list_(pa.list_(pa.bool_()))),
        ('text', pa.string()),
        ('image_id', pa.string()),
        ('ann_id', pa.string()),
        ('img_height', pa.int64()),
        ('img_width', pa.int64()),
    ]
)


def picture(grey, size=(WIDTH, HEIGHT)):
    file = io.BytesIO()
    Image.new('RGB', size, (grey, grey, grey)).save(file, 'png')
    return file.getvalue()


def mask(area):
    """A mask whose first ``area`` pixels, row after row, are set."""
    return (np.arange(HEIGHT * WIDTH) < area).reshape(HEIGHT, WIDTH).tolist()


def row(number, area=5, text='the cup', **changes):
    image = {'bytes': picture(number), 'path': f'{number}.jpg'}
    ids = {'image_id': f'i{number}', 'ann_id': f'a{number}'}
    return {'image': image, 'mask': mask(area), 'text': text, **ids, 'img_height': HEIGHT, 'img_width': WIDTH, **changes}


def write(root, rows, *, file=FILE, schema=SCHEMA, group=2):
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return path


def extended(**columns):
    return pa.schema([*SCHEMA, *columns.items()])


def opened(root, file=FOLDER, **options):
    options = {'test_mode': True, 'cache_index': False, 'pipeline': [LoadImage(), DecodeMasks()], **options}
    return ReasonSegParquetDataset(str(root), file=file, **options)


def test_rows_are_read_in_place(tmp_path):
    # more rows than a batch of reading has, in row groups of 2, the last of 1; a mask of 5 pixels is row 0 without its last one
    write(tmp_path, [row(n, area=n) for n in range(11)])
    dataset = opened(tmp_path)
    assert len(dataset) == 11
    for n in (0, 1, 5, 7, 8, 10, 3):
        sample = dataset[n]
        assert sample['img'].shape == (HEIGHT, WIDTH, 3)
        assert sample['img'][0, 0, 0] == n
        assert sample['gt_masks'][0].tolist() == np.array(mask(n)).astype(int).tolist()
        assert sample['facts'] == []
        assert sample['sample_id'] == f'test-00000-of-00001.parquet#{n}/i{n}/a{n}'
    assert dataset[5]['gt_masks'][0].tolist() == [[1, 1, 1, 1, 1, 0], [0] * 6, [0] * 6, [0] * 6]


def test_texts_are_asked_as_in_reason_seg(tmp_path):
    write(tmp_path, [row(0, text='the cup'), row(1, text='Where could the bird drink?')])
    asked = [sample['conversations'] for sample in opened(tmp_path)]
    assert asked == [
        [[('<image>\n What is the cup in this image? Please output segmentation mask.', '[SEG].')]],
        [[('<image>\n Where could the bird drink? Please output segmentation mask.', '[SEG].')]],
    ]


def test_short_and_long_if_the_file_says_it(tmp_path):
    rows = [row(0, text='the cup', is_sentence=True), row(1, text='What is it?', is_sentence=False)]
    write(tmp_path, rows, schema=extended(is_sentence=pa.bool_()))
    dataset = opened(tmp_path)
    assert [sample['facts'] for sample in dataset] == [[{'kind': 'long'}], [{'kind': 'short'}]]
    assert dataset[1]['conversations'][0][0][0] == '<image>\n What is What is it? in this image? Please output segmentation mask.'


def test_bytes_without_a_path_and_other_columns(tmp_path):
    plain = pa.schema([('image', pa.binary()), *list(SCHEMA)[1:], ('bbox', pa.list_(pa.int64())), ('remark', pa.string())])
    write(tmp_path, [{**row(9, bbox=[0, 0, 1, 1], remark='x'), 'image': picture(9)}], schema=plain)
    dataset = opened(tmp_path)
    assert dataset[0]['img'][0, 0, 0] == 9
    assert dataset[0]['img_path'].endswith('#0/i9')
    assert dict(dataset.notes) == {"ReasonSeg parquet row: the unknown field 'remark' is not read": 1}


def test_large_lists_and_whole_numbers_as_ids(tmp_path):
    lists = pa.large_list(pa.large_list(pa.bool_()))
    schema = pa.schema([pa.field(f.name, lists) if f.name == 'mask' else f for f in SCHEMA]).set(
        3, pa.field('image_id', pa.int64())
    )
    write(tmp_path, [row(0, image_id=7, area=9)], schema=schema)
    sample = opened(tmp_path)[0]
    assert sample['gt_masks'].sum() == 9
    assert sample['sample_id'].endswith('#0/7/a0')


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'mask': None}, 'row 1: mask: it is null'),
        ({'mask': []}, 'row 1: mask: it has 0 rows of 0 values; img_height x img_width is 4 x 6'),
        ({'mask': mask(3)[:3]}, 'it has 3 rows of 6 values'),
        ({'mask': [*mask(3)[:3], [True] * 5]}, 'it has 4 rows of 5 or 6 values'),
        ({'mask': [*mask(3)[:3], None]}, 'it is null, or has a row that is'),
        ({'mask': [*mask(3)[:3], [None] * 6]}, '6 of its values are null'),
        ({'text': ' '}, 'text: it is empty'),
        ({'text': None}, 'text is None; a text is needed'),
        ({'img_height': 6, 'img_width': 4}, 'img_height x img_width is 6 x 4'),
        ({'img_width': 0}, 'img_width is 0; at least 1 is allowed'),
        ({'ann_id': None}, 'ann_id: it is None; a whole number or a text is needed'),
    ],
)
def test_damaged_rows(tmp_path, changes, told):
    path = write(tmp_path, [row(0), row(1, **changes), row(2)])
    with pytest.raises(DataError, match=told) as caught:
        opened(tmp_path)
    assert str(path) in str(caught.value)
    assert caught.value.file == str(path)
    lenient = opened(tmp_path, skip_bad=True)
    assert [sample['img'][0, 0, 0] for sample in lenient] == [0, 2]


@pytest.mark.parametrize(
    ('image', 'told'),
    [
        ({'bytes': None, 'path': 'a.jpg'}, 'row 0: image has no bytes'),
        (None, 'row 0: image has no bytes'),
        ({'bytes': b'', 'path': 'a.jpg'}, 'the file is empty'),
        ({'bytes': b'no picture', 'path': 'a.jpg'}, 'Pillow knows no such format'),
        ({'bytes': picture(1, (WIDTH + 1, HEIGHT)), 'path': 'a.jpg'}, r'for an image of \(4, 6\) but the image is \(4, 7\)'),
    ],
)
def test_damaged_images(tmp_path, image, told):
    write(tmp_path, [row(0, image=image)])
    with pytest.raises(DataError, match=told):
        opened(tmp_path)[0]
    findings = check(Config(dict(train_dataloader=dict(dataset=dict(type='ReasonSegParquetDataset', data_root=str(tmp_path))))))
    assert sum(finding.level == 'error' for finding in findings) == 1


def test_columns_that_are_missing_or_of_another_type(tmp_path):
    write(tmp_path, [row(0)], schema=pa.schema(list(SCHEMA)[1:]))
    with pytest.raises(DataError, match='lacks the columns image; it has mask, text'):
        opened(tmp_path)
    write(tmp_path, [row(0, mask='x')], schema=pa.schema([('mask', pa.string()), *[f for f in SCHEMA if f.name != 'mask']]))
    with pytest.raises(DataError, match='the column mask is of the type string; lists of lists of bool'):
        opened(tmp_path)
    write(tmp_path, [row(0, image='x')], schema=pa.schema([('image', pa.string()), *list(SCHEMA)[1:]]))
    with pytest.raises(DataError, match='the column image is of the type string; bytes'):
        opened(tmp_path)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match=r'reason_seg/ReasonSeg_test is missing or unreadable'):
        opened(tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)
    with pytest.raises(DataError, match=r'ReasonSeg_test holds no parquet file') as caught:
        opened(tmp_path)
    assert caught.value.file.endswith('ReasonSeg_test/*.parquet')
    path = write(tmp_path, [row(n) for n in range(5)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match='is no whole parquet file'):
        opened(tmp_path)
    # the pages of the first columns are gone, but not the table of contents at the end
    path.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(DataError, match='is no whole parquet file'):
        list(opened(tmp_path))


def test_several_files(tmp_path):
    for n in (1, 0):
        write(tmp_path, [row(n)], file=f'{FOLDER}/data/test-0000{n}-of-00002.parquet')
    assert [int(sample['img'][0, 0, 0]) for sample in opened(tmp_path)] == [0, 1]
    (tmp_path / FOLDER / 'data/test-00000-of-00002.parquet').unlink()
    with pytest.raises(DataError, match="lacks 1 of the 2 files of 'test', first number 00000") as caught:
        opened(tmp_path)
    assert caught.value.file == str(tmp_path / FOLDER / 'data/test-00000-of-00002.parquet')
    assert len(opened(tmp_path, f'{FOLDER}/data/test-00001-of-00002.parquet')) == 1
    write(tmp_path, [row(3)], file=f'{FOLDER}/data/train.parquet')
    with pytest.raises(DataError, match='several splits: test, train'):
        opened(tmp_path)


def test_a_file_that_changes_while_it_is_open(tmp_path):
    write(tmp_path, [row(n) for n in range(3)])
    dataset = opened(tmp_path)
    write(tmp_path, [row(0)])
    with pytest.raises(DataError, match=r'has 1 rows; row 2 is asked for\. It has changed'):
        dataset[2]


def test_the_index_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / 'cache'))
    path = write(tmp_path, [row(0), row(1)])
    assert len(opened(tmp_path, cache_index=True)) == 2
    again = opened(tmp_path, cache_index=True)
    assert isinstance(again.index.data, np.memmap)
    write(tmp_path, [row(0)])
    assert again.changed_files() == [path]
    assert len(opened(tmp_path, cache_index=True)) == 1


def test_without_pyarrow(tmp_path, monkeypatch):
    path = write(tmp_path, [row(0)])
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    parquet._group_starts.cache_clear()
    for read in (lambda: opened(tmp_path), lambda: read_image(f'{path}#0/0.jpg')):
        with pytest.raises(UserError, match=r"need pyarrow, which is not installed: pip install 'lisa_mm\[parquet\]'"):
            read()


def test_an_image_that_is_held_out(tmp_path):
    write(tmp_path / 'a', [row(0), row(1), row(2, image={'bytes': picture(7), 'path': 'COCO_train2014_000000000007.jpg'})])
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/x.png').write_bytes(picture(1))
    held_out = ImageSet()
    held_out.add(opened(tmp_path / 'a'))
    title = f'ReasonSeg parquet {FOLDER}'
    assert held_out.find(str(tmp_path / 'b/x.png')) == ('content', title)
    assert held_out.find('/c/000000000007.jpg') == ('image id', title)
    write(tmp_path / 'd', [row(5), row(1)])
    assert find_leaks(opened(tmp_path / 'd'), held_out) == [(1, 'content', title)]


def test_training_and_conversion(tmp_path):
    write(tmp_path, [row(0, text='the cup'), row(1, area=0, text='the Cat'), row(2, text='Where could the bird drink?')])
    entry = dict(type='ReasonSegParquetDataset', data_root=str(tmp_path))
    mixture = MixtureDataset({'reason_seg': [{**entry, 'rejection': '[REJ]'}]}, pipeline=[LoadImage(), DecodeMasks()])
    for n in range(12):
        sample = mixture[n]
        answer = sample['conversations'][0][0][1]
        empty = sample['sample_id'].endswith('#1/i1/a1')
        assert ('[REJ]' in answer, '[SEG]' in answer, len(sample['gt_masks'])) == (empty, not empty, int(not empty))
    assert convert(entry, tmp_path / 'out/train.jsonl') == 3
    names = sorted(path.name for path in (tmp_path / 'out/images').iterdir())
    assert names == [f'test-00000-of-00001_{n}_{n}.jpg' for n in range(3)]
    assert image_size(tmp_path / 'out/images' / names[2]) == (HEIGHT, WIDTH)
    assert f'"image": "images/{names[0]}", "phrase": "the cup"' in (tmp_path / 'out/train.jsonl').read_text()


@pytest.mark.parametrize('seed', range(3))
def test_damaged_bytes(tmp_path, seed):
    path = write(tmp_path, [row(n) for n in range(3)])
    whole, rng, refused = path.read_bytes(), np.random.default_rng(seed), 0
    for _ in range(60):
        damaged = bytearray(whole)
        start = int(rng.integers(len(whole)))
        width = int(rng.integers(1, 9))
        damaged[start : start + width] = rng.bytes(len(damaged[start : start + width]))
        path.write_bytes(damaged)
        parquet._group_images.cache_clear()
        try:
            samples = list(opened(tmp_path))
        except DataError as error:
            refused += bool(error.file)
        else:
            assert all(sample['gt_masks'].shape == (1, HEIGHT, WIDTH) for sample in samples)
    assert refused > 10
