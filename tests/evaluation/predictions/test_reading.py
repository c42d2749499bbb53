"""Four formats are told apart; what is none of them, or damaged, is an error that says what is allowed."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lisa_mm.errors import DataError
from lisa_mm.evaluation.judged import Judged
from lisa_mm.evaluation.predictions import read_predictions
from lisa_mm.evaluation.predictions.entries import COCO, OWN, PNGS, SEG_ZERO, Key
from lisa_mm.evaluation.results import write_rows

from .scenes import CUP, rle

RESULT = {'image_id': 9, 'category_id': 1, 'segmentation': rle(CUP), 'score': 0.3}
ENTRY = {'image_id': 'a', 'ann_id': 7, 'think': 'hm', 'intersection': 3, 'union': 5, 'bbox_iou': 1.0}


def written(path, content) -> object:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def png(path) -> object:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (4, 4)).save(path)
    return path


def judged(**other) -> Judged:
    given = dict(sample_id='a', img_path=None, row=2, turn=1, question='q', answer='It is [SEG].', facts={}, size=(6, 8))
    counts = dict(targets=[1], predicted=[1], intersections=[[1]], unions=[[1]], joined=(1, 1), masks=[rle(CUP)])
    return Judged(**{**given, **counts, **other})


def test_coco_results(tmp_path):
    named = {**RESULT, 'sample_id': 's/a.jpg', 'row': 3, 'turn': 0, 'answer': 'It is [SEG].'}
    found = read_predictions(written(tmp_path / 'any.json', [RESULT, named, {**RESULT, 'segmentation': [[0, 0, 4, 0, 4, 4]]}]))
    assert found.kind == COCO
    assert [entry.keys for entry in found.entries] == [(Key('9'),), (Key('s/a.jpg', 3, 0),), (Key('9'),)]
    assert [entry.answer for entry in found.entries] == [None, 'It is [SEG].', None]
    assert found.entries[2].masks == ({'segmentations': [[0, 0, 4, 0, 4, 4]]},)
    assert not found.notes


def test_a_key_that_nobody_knows_is_noted_and_a_misspelt_one_refused(tmp_path):
    found = read_predictions(written(tmp_path / 'a.json', [{**RESULT, 'model': 'x'}, {**RESULT, 'model': 'y'}]))
    assert list(found.notes.values()) == [2]
    bad = {'scores' if key == 'score' else key: value for key, value in RESULT.items()}
    with pytest.raises(DataError, match="entry 1: scores is no known field, and 'score' is missing"):
        read_predictions(written(tmp_path / 'b.json', [RESULT, bad]))


def test_pngs(tmp_path):
    for name in ('a.png', 'a_12.png', '_3.png', 'b_x.png'):
        png(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('')
    found = read_predictions(tmp_path)
    assert found.kind == PNGS
    assert [entry.keys for entry in found.entries] == [
        (Key('_3'),),
        (Key('a'),),
        (Key('a_12'), Key('a', 12)),
        (Key('b_x'),),
    ]
    assert dict(found.notes) == {'files that are no .png are not read': 1}


def test_seg_zero_alone_and_in_parts(tmp_path):
    parts = [written(tmp_path / f'output_{n}.json', [{**ENTRY, 'ann_id': n}]) for n in (0, 1)]
    one, both = read_predictions(parts[0]), read_predictions(tmp_path)
    assert (one.kind, both.kind) == (SEG_ZERO, SEG_ZERO)
    assert [entry.keys for entry in both.entries] == [(Key('a/0'), Key('a')), (Key('a/1'), Key('a'))]
    assert (one.entries[0].counts, one.entries[0].text) == ((3, 5), 'hm')
    with_mask = read_predictions(written(tmp_path / 'mine.json', [{**ENTRY, 'segmentation': rle(CUP), 'row': 1}]))
    assert with_mask.entries[0].counts is None
    assert len(with_mask.entries[0].masks) == 1
    assert with_mask.entries[0].keys[1] == Key('a', 1)


def test_our_own_rows(tmp_path):
    write_rows([judged(), judged(row=0, answer=None)], tmp_path / 'rows.jsonl')
    for path in (tmp_path, tmp_path / 'rows.jsonl'):
        found = read_predictions(path)
        assert found.kind == OWN
        assert [entry.keys for entry in found.entries] == [(Key('a', 2, 1),), (Key('a', 0, 1),)]
        assert [entry.answer for entry in found.entries] == ['It is [SEG].', None]


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ([], 'holds no prediction'),
        ({'images': [], 'annotations': []}, r'it holds an object\. It looks like a ground truth'),
        (5, 'it holds a number'),
        ([5], 'entry 0 has the keys none'),
        ([{'image_id': 1, 'bbox': [0, 0, 1, 1]}], "entry 0 has the keys 'image_id', 'bbox'; a prediction has segmentation"),
        ([RESULT, 5], 'entry 1: '),
        ([RESULT, {**RESULT, 'segmentation': {'size': [2, 2], 'counts': [1, 1]}}], 'entry 1: .*cover 2 pixels'),
        ([{**RESULT, 'image_id': 1.5}], 'entry 0: image_id: it is 1.5'),
        ([{**RESULT, 'row': -1}], 'entry 0: row is -1'),
        ([ENTRY, {'image_id': 1, 'ann_id': 1, 'bbox': [0, 0, 1, 1]}], 'entry 1 holds neither a mask'),
        ([{**ENTRY, 'intersection': 6}], 'intersection 6 is more than union 5'),
        ([{**ENTRY, 'union': 5.5}], 'entry 0: union is 5.5'),
    ],
)
def test_a_json_that_is_no_predictions(tmp_path, content, said):
    with pytest.raises(DataError, match=said):
        read_predictions(written(tmp_path / 'a.json', content))


def test_no_file_and_no_format(tmp_path):
    with pytest.raises(DataError, match=r'does not exist\. Give a json of COCO results'):
        read_predictions(tmp_path / 'nothing')
    with pytest.raises(DataError, match=r'holds no predictions\. Allowed: a json of COCO results'):
        read_predictions(tmp_path)
    (tmp_path / 'a.txt').write_text('')
    with pytest.raises(DataError, match='is no file of predictions'):
        read_predictions(tmp_path / 'a.txt')
    png(tmp_path / 'a.png')
    written(tmp_path / 'output_0.json', [ENTRY])
    with pytest.raises(DataError, match=r'several formats, such as output_0\.json and a\.png'):
        read_predictions(tmp_path)


def test_rows_without_masks(tmp_path):
    write_rows([judged(masks=None)], tmp_path / 'rows.jsonl')
    with pytest.raises(DataError, match='line 1 holds no masks'):
        read_predictions(tmp_path)
