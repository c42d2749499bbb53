"""What a label needs."""

from __future__ import annotations

import numpy as np
import pytest

from lisa_mm.apis.answers import Answer
from lisa_mm.datasets.run_lengths import encode_mask
from lisa_mm.errors import DataError
from lisa_mm.labelling import item_of_answer, label_item

from .scenes import shaped

MASK = shaped('blob')
SIZE = MASK.shape


def test_an_answer_becomes_a_label():
    masks = np.stack([shaped('square'), MASK])
    logits = np.where(masks, 2.0, -2.0).astype(np.float32)
    question = 'Where could the bird drink? Please output segmentation mask.'
    answer = Answer('Here [SEG] or [SEG].', masks, logits, np.ones(2, np.float32), question, name='x/a.jpg')
    item = item_of_answer(answer.to_dict(), folder='images')
    assert item.image.as_posix() == 'images/x/a.jpg'
    assert item.label == 'Where could the bird drink?'
    assert item.is_sentence
    assert (np.stack(list(item.masks)) == masks).all()
    assert item.scores == pytest.approx([0.880797] * 2, abs=1e-6)
    assert item_of_answer(answer.to_dict(), phrase=True).is_sentence is False


def test_masks_as_arrays_or_run_lengths():
    numbers = {'size': list(SIZE), 'counts': [0, SIZE[0] * SIZE[1]]}
    item = label_item('a.jpg', SIZE, 'the cup', '', [MASK, MASK * 255, encode_mask(MASK), numbers])
    found = list(item.masks)
    assert all((mask == MASK).all() for mask in found[:3])
    assert found[3].all()
    assert not item.is_sentence
    assert label_item('a.jpg', SIZE, 'the cup', '', np.zeros((0, *SIZE), bool)).rles == ()


def test_half_a_surrogate_pair_can_be_written():
    item = label_item('a.jpg', SIZE, 'the \ud800 cup', '\udfff', [])
    assert (item.label, item.text) == ('the ? cup', '?')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image': ''}, 'names no image file'),
        ({'question': ' '}, 'the question is empty'),
        ({'masks': [MASK[1:]]}, r'a mask is \(46, 61\), the image \(47, 61\)'),
        ({'masks': [{'size': [46, 61], 'counts': 'x'}]}, r'a mask is \(46, 61\)'),
        ({'masks': [{'size': list(SIZE), 'counts': [3]}]}, 'cover 3 pixels'),
        ({'scores': [1.0, 2.0]}, '1 masks but 2 scores'),
    ],
)
def test_what_does_not_fit(changes, message):
    given = {'image': 'a.jpg', 'size': SIZE, 'question': 'the cup', 'text': '[SEG]', 'masks': [MASK], **changes}
    scores = given.pop('scores', ())
    with pytest.raises(DataError, match=message):
        label_item(*given.values(), scores=scores)
