"""Labels in ReasonSeg's layout, read by its reader and by the rules of the published program."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from lisa_mm.datasets import ReasonSegDataset
from lisa_mm.labelling import open_labels, write_labels
from lisa_mm.labelling.labelme import AS_BITMAP
from lisa_mm.labelling.reasonseg import COPIED, EMPTY, NOT_PUBLISHED, UNITED
from lisa_mm.labelling.writer import KNOWN, NO_MASK

from .scenes import NAMES, READ, SHAPES, item, masks_of, shaped
from .test_outlines import drawn_by_opencv

FOLDER = 'out/reason_seg/ReasonSeg/train'


def written(tmp_path, *items):
    return write_labels('reasonseg', items, tmp_path / 'out', images=tmp_path / 'images')[1]


def dataset(tmp_path):
    return ReasonSegDataset(str(tmp_path / 'out'), split='train', **READ)


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / FOLDER).iterdir())


@pytest.mark.parametrize('kind', [*SHAPES, 'empty'])
def test_every_mask_comes_back(tmp_path, kind):
    notes = written(tmp_path, item(tmp_path, shaped(kind)))
    bitmap = kind in ('first pixel', 'first four pixels', 'checkerboard')
    assert notes == ({AS_BITMAP: 1} if bitmap else {EMPTY: 1} if kind == 'empty' else {})
    data = dataset(tmp_path)
    (mask,) = masks_of(data).values()
    assert (mask == shaped(kind)).all()
    assert not data.notes
    shapes = json.loads((tmp_path / FOLDER / 'a.json').read_text())['shapes']
    if not bitmap:  # the published program knows points alone
        assert (drawn_by_opencv([shape['points'] for shape in shapes], mask.shape[1:]) == shaped(kind)).all()


def test_images_of_any_name(tmp_path):
    notes = written(tmp_path, *[item(tmp_path, shaped(SHAPES[n]), name=name) for n, name in enumerate(NAMES)])
    assert notes == {NOT_PUBLISHED: 1, AS_BITMAP: 2}
    assert [name for name in files(tmp_path) if not name.endswith('.json')] == [
        'a.jpg',
        'a_2.png',
        'sub__deep__a.jpg',
        'sub__ünï 猫.jpg',
        'two words.jpg',
    ]
    data = dataset(tmp_path)
    areas = [data[n]['gt_masks'].sum() for n in range(len(data))]
    assert sorted(areas) == sorted(shaped(SHAPES[n]).sum() for n in range(len(NAMES)))
    assert os.path.samefile(tmp_path / 'images' / 'a.png', tmp_path / FOLDER / 'a_2.png')


def test_questions_about_one_image(tmp_path):
    square, blob = shaped('square'), shaped('blob')
    image = item(tmp_path, name='a_2.jpg').image  # a name that the second question would take
    items = [
        item(tmp_path, square),
        item(tmp_path, blob, question='What holds tea? Please output segmentation mask.'),
        item(tmp_path, square, blob, question='both', scores=[0.5, 0.25]),
        item(tmp_path, blob, name=image.name),
        item(tmp_path, question='the dragon', text='There is none.'),
    ]
    notes = written(tmp_path, *items)
    assert notes == {UNITED: 1, NO_MASK: 1}
    found = masks_of(dataset(tmp_path))
    assert {(name, int(mask.sum())) for (name, _), mask in found.items()} == {
        ('a.jpg', square.sum()),
        ('a_2.jpg', blob.sum()),
        ('a_3.jpg', (square | blob).sum()),
        ('a_2_2.jpg', blob.sum()),
    }
    second, third = (json.loads((tmp_path / FOLDER / f'a_{n}.json').read_text()) for n in (2, 3))
    assert (second['text'], second['is_sentence']) == (['What holds tea?'], True)
    assert (third['text'], third['is_sentence']) == (['both'], False)
    assert third['otherData'] == {'image': 'a.jpg', 'answer': 'It is [SEG] [SEG].', 'scores': [0.5, 0.25]}
    before = files(tmp_path)
    assert written(tmp_path, *items) == {KNOWN: 4, NO_MASK: 1}
    assert files(tmp_path) == before


def test_a_run_that_stopped_between_image_and_json(tmp_path):
    label = item(tmp_path, shaped('square'))
    written(tmp_path, label)
    (tmp_path / FOLDER / 'a.json').unlink()
    written(tmp_path, label)
    assert files(tmp_path) == ['a.jpg', 'a.json']
    (tmp_path / FOLDER / 'a.json').unlink()
    (tmp_path / FOLDER / 'a.jpg').unlink()
    (tmp_path / FOLDER / 'a.jpg').write_bytes(b'mine')
    written(tmp_path, label)
    assert files(tmp_path) == ['a.jpg', 'a_2.jpg', 'a_2.json']
    assert (tmp_path / FOLDER / 'a.jpg').read_bytes() == b'mine'


def test_without_links_the_image_is_copied(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError('no links')

    monkeypatch.setattr(os, 'link', refuse)
    assert written(tmp_path, item(tmp_path, shaped('square'))) == {COPIED: 1}
    assert np.array_equal(*[list(path.read_bytes()) for path in (tmp_path / FOLDER / 'a.jpg', tmp_path / 'images' / 'a.jpg')])
    assert files(tmp_path) == ['a.jpg', 'a.json']


def test_names_that_are_too_long(tmp_path):
    names = [f'{"猫" * 60}/{"犬" * 60}{n}.jpg' for n in (1, 2)]
    written(tmp_path, *[item(tmp_path, shaped('square'), name=name) for name in names])
    assert len(dataset(tmp_path)) == 2


def test_other_jsons_stay(tmp_path):
    labels = open_labels('reasonseg', tmp_path / 'out', images=tmp_path / 'images')
    for other in ('[]', 'mine', '{"otherData": 3}', '{"otherData": {"image": "a.jpg"}, "text": []}'):
        (tmp_path / FOLDER / 'a.json').write_text(other)
        labels.add(item(tmp_path, shaped('square')))
        assert (tmp_path / FOLDER / 'a.json').read_text() == other
    assert files(tmp_path) == ['a.json', 'a_2.jpg', 'a_2.json']
