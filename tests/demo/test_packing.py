from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from lisa_mm.demo.layers import mask_layers
from lisa_mm.demo.packing import pack
from lisa_mm.demo.talk import Exchange, Talk
from lisa_mm.drawing import draw_answer, mask_colors
from lisa_mm.errors import DataError


@pytest.fixture
def talk() -> Talk:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    logits = rng.normal(0, 2, (2, 20, 30)).astype(np.float32)
    return Talk(
        exchanges=(Exchange('a cup', asked='What is a cup?', text='It is [SEG].'), Exchange('ü', asked='ü?', text='[SEG]')),
        name='mine.jpg',
        image=image,
        logits=logits,
        seg_logits=np.array([3.5, 2.5], np.float32),
        layers=mask_layers(image, logits, ['a cup', 'ü']),
    )


def unpack(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_all_masks_at_full_size_with_overlay_and_answer(talk: Talk) -> None:
    files = unpack(pack(talk, 'nano', 0.5))
    assert list(files) == ['mask_1.png', 'mask_2.png', 'overlay.png', 'answer.json']
    assert talk.logits is not None and talk.image is not None
    for number in (1, 2):
        mask = np.array(Image.open(io.BytesIO(files[f'mask_{number}.png'])))
        np.testing.assert_array_equal(mask, (talk.logits[number - 1] > 0) * np.uint8(255))
    masks = talk.logits > 0
    drawn = draw_answer(talk.image, masks, mask_colors(talk.image, masks))
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(files['overlay.png']))), drawn)
    told = json.loads(files['answer.json'])
    assert (told['model'], told['threshold'], told['image']) == ('nano', 0.5, 'mine.jpg')
    assert (told['height'], told['width']) == (20, 30)
    assert told['conversation'][1] == {'question': 'ü', 'asked': 'ü?', 'text': '[SEG]'}
    assert [(mask['file'], mask['question'], mask['seg_logit']) for mask in told['masks']] == [
        ('mask_1.png', 'a cup', 3.5),
        ('mask_2.png', 'ü', 2.5),
    ]


def test_the_threshold_is_a_probability(talk: Talk) -> None:
    assert talk.logits is not None
    mask = Image.open(io.BytesIO(unpack(pack(talk, 'nano', 0.9))['mask_1.png']))
    np.testing.assert_array_equal(np.array(mask) > 0, 1 / (1 + np.exp(-talk.logits[0].astype(float))) > 0.9)
    for threshold in (0.0, 1.0, -1.0, float('nan')):
        with pytest.raises(DataError, match='above 0 and below 1'):
            pack(talk, 'nano', threshold)


def test_there_is_nothing_to_pack_without_a_mask() -> None:
    with pytest.raises(DataError, match='no mask yet'):
        pack(Talk(exchanges=(Exchange('a'),)), 'nano', 0.5)
