from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lisa_mm.errors import DataError
from lisa_mm.reporting.samples import SIDE, as_jpeg, choose, confusion, picture_of, question_iou, says_nothing
from lisa_mm.visualization import TRUE_COLOR

from .making import answer, draw_pictures
from .test_pairing import judged


@pytest.fixture(scope='module')
def asked(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp('pictures'), 2, size=(360, 640))


def test_iou_of_a_question():
    assert question_iou(judged(0, 0, (3, 4))) == 0.75
    assert question_iou(judged(0, 0, (0, 0))) == 1
    two = judged(0, 0, (0, 0), targets=[4, 4], predicted=[4, 8], intersections=[[4, 0], [0, 4]], unions=[[4, 8], [12, 8]])
    assert question_iou(two) == 0.75  # 4/4 and 4/8
    assert question_iou(replace(two, joined=(8, 12), answer='[SEG] [SEG]')) == pytest.approx(8 / 12)  # said: united
    lost = replace(two, predicted=[4], intersections=[[4, 0]], unions=[[4, 8]], joined=(4, 8))
    assert question_iou(lost) == 0.5
    assert question_iou(judged(0, 0, (0, 5), targets=[], predicted=[5], intersections=[[]], unions=[[]])) == 0


def test_nothing_there(asked):
    there, nothing = asked[0], asked[3]
    rows = [
        answer(there, 0, said=True),
        answer(there, 0, said=True, silent=True),
        answer(nothing, 0, said=True),
        answer(nothing, 0, said=True, silent=True),
        answer(nothing, 0, said=False, silent=True),  # an empty mask
        replace(answer(nothing, 0, said=True), answer='[REJ] [SEG]'),
    ]
    assert [says_nothing(one) for one in rows] == [False, True, False, True, True, True]
    assert confusion(rows).tolist() == [[1, 1], [1, 3]]


def test_choosing():
    rows = [judged(n, 0, (n, 10)) for n in range(10)] + [judged(20, 0, (0, 0), targets=[0])]
    found = choose([rows], 2)
    assert [sample.first.sample_id for sample in found['worst']] == ['0', '1']
    assert [sample.first.sample_id for sample in found['best']] == ['9', '8']  # and not the right empty mask
    names = [sample.first.sample_id for sample in found['random']]
    assert len(set(names)) == 2 and not set(names) & {'0', '1', '9', '8'}
    assert names == [sample.first.sample_id for sample in choose([rows], 2)['random']]


def test_choosing_among_few_and_none():
    assert {kind: len(samples) for kind, samples in choose([[judged(0, 0, (1, 2))]], 4).items()} == {
        'worst': 1,
        'best': 0,
        'random': 0,
    }
    assert choose([None], 4) == {'worst': [], 'best': [], 'random': []}


def test_several_models_count_together():
    first = [judged(0, 0, (9, 10)), judged(1, 0, (5, 10))]
    second = [judged(0, 0, (0, 10)), judged(2, 0, (10, 10))]
    found = choose([first, None, second], 1)
    (worst,) = found['worst']
    assert worst.iou == pytest.approx(0.45)
    assert [one is None for one in worst.answers] == [False, True, False]
    assert [one is None for one in found['best'][0].answers] == [True, True, False]


def test_a_picture_is_small_and_has_an_outline(asked):
    found = picture_of(answer(asked[0], 40, said=True))
    assert isinstance(found, np.ndarray)
    assert found.shape == (180, SIDE, 3)
    assert (found == TRUE_COLOR).all(-1).any()


def test_a_target_of_one_pixel_is_seen(asked):
    target = np.zeros((360, 640), np.uint8)
    target[101, 203] = 1
    found = picture_of(answer(replace(asked[0], target=target), 0, said=True))
    assert isinstance(found, np.ndarray)
    assert (found == TRUE_COLOR).all(-1).any()


def test_without_masks_and_with_empty_ones(asked):
    whole = picture_of(replace(answer(asked[3], 0, said=True), masks=None, target_masks=None))
    empty = picture_of(answer(asked[3], 0, said=False, silent=True))
    assert isinstance(whole, np.ndarray)
    np.testing.assert_array_equal(whole, empty)


def test_a_missing_image_and_one_of_another_size(asked, tmp_path):
    one = answer(asked[0], 0, said=True)
    assert picture_of(replace(one, img_path=str(tmp_path / 'gone.jpg'))) == 'gone.jpg is missing'
    assert picture_of(replace(one, img_path=None)) == 'the rows name no image file'
    Image.new('RGB', (30, 20)).save(tmp_path / 'other.png')
    assert (
        picture_of(replace(one, img_path=str(tmp_path / 'other.png')))
        == 'other.png is (20, 30) now, and was (360, 640) (height, width)'
    )
    (tmp_path / 'text.jpg').write_text('no image')
    assert 'text.jpg' in str(picture_of(replace(one, img_path=str(tmp_path / 'text.jpg'))))


def test_a_damaged_mask(asked):
    one = answer(asked[0], 0, said=True)
    for rle in ({'size': [360, 640], 'counts': '1'}, {'size': [1, 1], 'counts': '1'}):
        with pytest.raises(DataError, match='row 0: a mask is damaged'):
            picture_of(replace(one, masks=[rle]))


def test_a_jpeg():
    head, _, data = as_jpeg(np.full((20, 30, 3), 200, np.uint8)).partition(',')
    assert head == 'data:image/jpeg;base64'
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (30, 20) and image.format == 'JPEG'
