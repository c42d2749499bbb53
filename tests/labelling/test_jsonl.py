"""Labels as rows of our own schema, read by its reader."""

from __future__ import annotations

import json

import pytest

from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.labelling import open_labels, write_labels
from lisa_mm.labelling.jsonl import UNITED
from lisa_mm.labelling.writer import KNOWN, NO_MASK

from .scenes import NAMES, READ, SHAPES, item, masks_of, shaped


def written(tmp_path, *items):
    return write_labels('jsonl', items, tmp_path / 'out', images=tmp_path / 'images')


def dataset(tmp_path):
    return JsonlSegDataset(str(tmp_path / 'out'), file='labels.jsonl', **READ)


@pytest.mark.parametrize('kind', [*SHAPES, 'empty'])
def test_every_mask_comes_back(tmp_path, kind):
    files, notes = written(tmp_path, item(tmp_path, shaped(kind)))
    assert files == [tmp_path / 'out' / 'labels.jsonl']
    assert not notes
    (mask,) = masks_of(dataset(tmp_path)).values()
    assert (mask == shaped(kind)).all()


def test_images_of_any_name(tmp_path):
    written(tmp_path, *[item(tmp_path, shaped(SHAPES[n]), name=name) for n, name in enumerate(NAMES)])
    data = dataset(tmp_path)
    assert [data[n]['gt_masks'].sum() for n in range(len(data))] == [shaped(SHAPES[n]).sum() for n in range(len(NAMES))]


def test_kinds_of_questions(tmp_path):
    square, blob = shaped('square'), shaped('blob')
    asked = 'Which two? Please output segmentation mask.'
    items = [
        item(tmp_path, square),
        item(tmp_path, square, question='What holds tea?', text='The cup, for it is hollow [SEG].'),
        item(tmp_path, square, blob, question=asked, text='The cup [SEG] and the pot [SEG].'),
        item(tmp_path, square, blob, question='all cups', text='[SEG]'),
        item(tmp_path, question='the dragon', text='There is none.'),
    ]
    _, notes = written(tmp_path, *items)
    assert notes == {UNITED: 1, NO_MASK: 1}
    rows = [json.loads(line) for line in (tmp_path / 'out' / 'labels.jsonl').read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key not in ('masks', 'id', 'image')} for row in rows]
    assert kept == [
        {'phrase': 'the red cup'},
        {'question': 'What holds tea?'},
        {'question': 'Which two?', 'answer': 'The cup [SEG] and the pot [SEG].'},
        {'phrase': 'all cups'},
    ]
    record = JsonlSegDataset(str(tmp_path / 'out'), file='labels.jsonl', **{**READ, 'test_mode': False}).get_data_info(0)
    assert [len(row['masks']) for row in record['questions']] == [1, 2]
    assert (
        masks_of(dataset(tmp_path))['a.jpg', 'What is all cups in this image? Please output segmentation mask.']
        == (square | blob)
    ).all()


def test_a_run_that_stopped_goes_on(tmp_path):
    first, second = item(tmp_path, shaped('square')), item(tmp_path, shaped('blob'), question='the pot')
    path = tmp_path / 'out' / 'labels.jsonl'
    written(tmp_path, first, second)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    labels = open_labels('jsonl', tmp_path / 'out', images=tmp_path / 'images')
    assert [labels.add(first), labels.add(second)] == [False, True]
    assert labels.notes[KNOWN] == 1
    assert any('was cut' in note for note in labels.notes)
    assert path.read_bytes() == whole
