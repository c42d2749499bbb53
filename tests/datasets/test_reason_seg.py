"""ReasonSeg on disk: sampling, masks, and every kind of broken file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets.masks import decode_mask
from lisa_mm.datasets.reason_seg import ReasonSegDataset
from lisa_mm.datasets.shapes import draw_shapes
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import ConfigError, DataError


def shape(points, label='target'):
    return {'label': label, 'points': points}


SQUARE = shape([[1, 1], [4, 1], [4, 4], [1, 4]])


@pytest.fixture
def root(tmp_path):
    """Three images of 8 x 6 (width x height), each with a question; the second has three texts and another object."""
    folder = tmp_path / 'reason_seg' / 'ReasonSeg' / 'train'
    folder.mkdir(parents=True)
    for i in range(3):
        Image.new('RGB', (8, 6), (i * 20, 0, 0)).save(folder / f'train_{i}.jpg')
        content = {'text': [f'What is {i}?'], 'is_sentence': True, 'shapes': [SQUARE]}
        if i == 1:
            content['text'] = ['one', 'two', 'three', 'four']
            content['is_sentence'] = False
            content['others'] = [{'text': ['the other'], 'is_sentence': False, 'shapes': [shape([[5, 0], [7, 0], [7, 2]])]}]
        (folder / f'train_{i}.json').write_text(json.dumps(content))
    return tmp_path


def write(root, content, name='train_0.json'):
    path = root / 'reason_seg' / 'ReasonSeg' / 'train' / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_every_image_once_a_turn_and_a_pure_function_of_seed_and_index(root):
    one, other = ReasonSegDataset(str(root)), ReasonSegDataset(str(root))
    for turn in range(3):
        assert sorted(one.record_index(3 * turn + i) for i in range(3)) == [0, 1, 2]
    assert [one[n]['conversations'] for n in (5, 2, 700)] == [other[n]['conversations'] for n in (5, 2, 700)]
    later = ReasonSegDataset(str(root), seed=1)
    assert [one[n]['conversations'] for n in range(9)] != [later[n]['conversations'] for n in range(9)]


def test_texts_and_others(root):
    dataset = ReasonSegDataset(str(root), texts_per_image=3, others_per_image=2)
    for n in range(9):
        sample = dataset[n]
        count = 4 if sample['sample_id'] == 'train/train_1.json' else 1
        assert len(sample['conversations']) == len(sample['encoded_masks']) == count
        assert all('[SEG]' in turns[0][1] for turns in sample['conversations'])


def test_testing_takes_the_first_text_and_gives_the_answer(root):
    dataset = ReasonSegDataset(str(root), test_mode=True)
    assert dataset[1]['conversations'] == [[('<image>\n What is one in this image? Please output segmentation mask.', '[SEG].')]]


def test_other_question_keeps_the_mask(root):
    dataset = ReasonSegDataset(str(root), test_mode=True, control='other_question')
    assert 'the other' in dataset[1]['conversations'][0][0][0]
    assert dataset[1]['encoded_masks'][0]['shapes'] == [SQUARE]
    assert 'What is one in' in dataset[0]['conversations'][0][0][0]  # no other object: the next image's question
    with pytest.raises(ConfigError, match='other_question'):
        ReasonSegDataset(str(root), control='no')


def test_explanation(root):
    folder = root / 'reason_seg' / 'ReasonSeg' / 'explanatory'
    folder.mkdir()
    (folder / 'train.json').write_text(json.dumps([{'image': 'train_0.jpg', 'query': 'q', 'outputs': 'Because.'}]))
    always = ReasonSegDataset(str(root), explanatory=1.0, indices=1)
    assert always[0]['conversations'][0][0][1] == 'Because.'
    assert always[0]['encoded_masks'] == []
    never = ReasonSegDataset(str(root), explanatory=-1, indices=1)
    assert not any('Because' in never[n]['conversations'][0][0][1] for n in range(20))
    half = ReasonSegDataset(str(root), explanatory=0.0, indices=1)
    explained = sum('Because' in half[n]['conversations'][0][0][1] for n in range(200))
    assert 70 <= explained <= 130  # half of them, 4 sigma


def test_masks_by_hand():
    small_on_large = draw_shapes([shape([[0, 0], [1, 0], [1, 1], [0, 1]], 'ignore'), SQUARE], 6, 8)
    wanted = np.zeros((6, 8), np.uint8)
    wanted[1:5, 1:5] = 1
    wanted[0:2, 0:2] = 255  # the smaller one is drawn last
    assert small_on_large.tolist() == wanted.tolist()
    assert draw_shapes([shape([[0, 0], [7, 0], [7, 5]], 'FLAG')], 6, 8).sum() == 0


def test_ignored_pixels(root):
    write(root, {'text': ['a'], 'is_sentence': True, 'shapes': [shape([[0, 0], [2, 0], [2, 2]], 'ignore region')]})
    for test_mode, values in ((False, {0}), (True, {0, 255})):
        dataset = ReasonSegDataset(str(root), test_mode=test_mode, indices=1, pipeline=[LoadImage(), DecodeMasks()])
        assert set(np.unique(dataset[0]['gt_masks'])) == values


def test_cp1252(root):
    write(root, json.dumps({'text': ['the café'], 'is_sentence': False, 'shapes': [SQUARE]}, ensure_ascii=False).encode('cp1252'))
    assert 'café' in ReasonSegDataset(str(root), test_mode=True)[0]['conversations'][0][0][0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"text": [', r'train_0.json is no json'),
        ([], r'train_0.json: the record is \[\]; an object is needed'),
        ({'text': [], 'is_sentence': True, 'shapes': [SQUARE]}, r'train_0.json: text has 0 items; at least 1'),
        ({'text': [' '], 'is_sentence': True, 'shapes': [SQUARE]}, r'train_0.json: text\[0\]: it is empty'),
        ({'text': ['a'], 'is_sentence': True, 'shapes': [shape([])]}, r'train_0.json: shapes\[0\]: it is an empty polygon'),
        ({'text': ['a'], 'is_sentence': True}, r"train_0.json: shapes is missing; keys found: 'text', 'is_sentence'"),
    ],
)
def test_broken_json_is_named(root, content, message):
    write(root, content)
    with pytest.raises(DataError, match=message):
        ReasonSegDataset(str(root))


def test_missing_and_unreadable_images(root):
    image = root / 'reason_seg' / 'ReasonSeg' / 'train' / 'train_0.jpg'
    image.write_bytes(b'no image')
    dataset = ReasonSegDataset(str(root), pipeline=[LoadImage()], test_mode=True)
    with pytest.raises(DataError, match=r'train_0.jpg is missing or unreadable'):
        dataset[0]
    image.unlink()
    with pytest.raises(DataError, match=r'train_0.json: the image .*train_0.jpg is missing'):
        ReasonSegDataset(str(root))


def test_no_folder_and_no_records(tmp_path, root):
    with pytest.raises(DataError, match="splits found: \\['train'\\]"):
        ReasonSegDataset(str(root), split='vall')
    with pytest.raises(DataError, match='is no folder'):
        ReasonSegDataset(str(tmp_path / 'nothing'))
    for path in (root / 'reason_seg' / 'ReasonSeg' / 'train').glob('*.json'):
        path.unlink()
    with pytest.raises(DataError, match='is empty'):
        ReasonSegDataset(str(root))


def test_a_mask_of_another_size_than_the_image():
    rle = {'size': [5, 5], 'counts': b''}
    with pytest.raises(DataError, match=r'a.json: its annotation is for an image of \(5, 5\) but the image is \(6, 8\)'):
        decode_mask({'rle': rle}, 6, 8, 'a.json')
