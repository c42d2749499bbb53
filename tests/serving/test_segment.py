"""POST /v1/segment answers as LISAInferencer does, and says what is wrong with a request."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets.run_lengths import decode_rle
from lisa_mm.serving.replies import describe

from .running_server import base64_of, data_uri, picture, png_bytes

FORCED = {'force_seg': True, 'max_new_tokens': 12}


def test_an_answer_is_that_of_the_inferencer(server, inferencer):
    pixels = picture(1)
    wanted = inferencer(pixels, 'the cup', **FORCED)
    for image in (base64_of(pixels), data_uri(pixels), '\n'.join(base64_of(pixels)[i : i + 76] for i in range(0, 9999, 76))):
        found = server.ask({'image': image, 'questions': ['the cup'], 'options': FORCED})
        assert found.status_code == 200, found.text
        assert found.json() == {'model': 'tiny', 'answers': [describe(wanted)]}
    [answer] = found.json()['answers']
    assert answer['text'].count('[SEG]') == len(answer['masks']) == 1
    assert answer['asked'] == 'What is the cup in this image? Please output segmentation mask.'
    np.testing.assert_array_equal(decode_rle(answer['masks'][0]['rle']), wanted.masks[0])
    assert wanted.masks.any() and not wanted.masks.all()


def test_questions_with_options_of_their_own(server, inferencer):
    pixels = picture(2)
    history = [['the pot', 'It is [SEG].']]
    questions = [
        'the cup',
        {'question': 'what?', 'raw': True},
        {'question': 'the lid', 'history': history, 'options': {'no_text': True}},
        {'question': 'the cup', 'options': {'temperature': 1.0, 'seed': 7, 'top_k': 40, 'top_p': 0.9, 'max_new_tokens': 5}},
    ]
    asked = server.ask({'image': base64_of(pixels), 'questions': questions, 'options': {'max_new_tokens': 8}})
    assert asked.status_code == 200, asked.text
    found = asked.json()['answers']
    wanted = [
        inferencer(pixels, 'the cup', max_new_tokens=8),
        inferencer(pixels, 'what?', raw=True, max_new_tokens=8),
        inferencer(pixels, 'the lid', history=history, no_text=True, max_new_tokens=8),
        inferencer(pixels, 'the cup', temperature=1.0, seed=7, top_k=40, top_p=0.9, max_new_tokens=5),
    ]
    for one, other in zip(found, wanted, strict=True):
        assert one['text'] == other.text
        assert (one['asked'], one['cut']) == (other.asked, other.cut)
        own = other.masks[other.earlier :]
        assert len(one['masks']) == len(own)
        for mask, truth in zip(one['masks'], own, strict=True):
            np.testing.assert_array_equal(decode_rle(mask['rle']), truth)
    assert found[2]['masks'] and 'hint' not in found[2]
    assert found[1]['hint'].startswith('No [SEG] in the answer')
    assert found[1]['asked'] == 'what?'


def test_other_forms_of_masks(server, inferencer):
    pixels = picture(3)
    wanted = inferencer(pixels, 'the cup', **FORCED)
    body = {'image': base64_of(pixels), 'questions': ['the cup'], 'options': FORCED}
    [drawn] = server.ask({**body, 'masks': 'png', 'overlay': True}).json()['answers']
    mask = np.array(Image.open(io.BytesIO(base64.b64decode(drawn['masks'][0]['png']))))
    np.testing.assert_array_equal(mask, wanted.masks[0] * 255)
    head, _, overlay = drawn['overlay'].partition(',')
    assert head == 'data:image/png;base64'
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(overlay)))), wanted.overlay())
    [outlined] = server.ask({**body, 'masks': 'polygons'}).json()['answers']
    assert outlined['masks'][0]['polygons'] == wanted.polygons[0]
    assert 'rle' not in outlined['masks'][0] and 'overlay' not in outlined


def test_a_form_is_the_same_request(server):
    pixels = picture(4)
    fields = {'question': ['the cup', 'the pot'], 'options': json.dumps(FORCED), 'overlay': 'false', 'masks': 'rle'}
    with server.client() as client:
        found = client.post('/v1/segment', files={'image': ('a.png', png_bytes(pixels))}, data=fields)
    assert found.status_code == 200, found.text
    body = {'image': base64_of(pixels), 'questions': fields['question'], 'options': FORCED}
    assert found.json() == server.ask(body).json()


def test_a_jpeg_that_lies_on_its_side(server, inferencer, tmp_path):
    image = Image.fromarray(picture(5))
    exif = image.getexif()
    exif[0x112] = 6
    image.save(tmp_path / 'a.jpg', exif=exif)
    content = (tmp_path / 'a.jpg').read_bytes()
    body = {'image': base64.b64encode(content).decode(), 'questions': ['the cup'], 'options': FORCED}
    [answer] = server.ask(body).json()['answers']
    assert (answer['height'], answer['width']) == (60, 40)
    assert answer == describe(inferencer(tmp_path / 'a.jpg', 'the cup', **FORCED))


GOOD = {'image': base64_of(picture()), 'questions': ['the cup']}


@pytest.mark.parametrize(
    ('change', 'status', 'words'),
    [
        ({'image': 'street.jpg'}, 400, "the image 'street.jpg' is no base64"),
        ({'image': '/etc/passwd'}, 400, 'is no base64'),
        ({'image': '/etc/fstab12'}, 400, 'is none that can be read'),
        ({'image': 'data:image/png,abc'}, 400, 'a data URI reads data:image/png;base64'),
        ({'image': base64.b64encode(png_bytes(picture())[:300]).decode()}, 400, 'is no image that can be read (OSError)'),
        ({'image': ''}, 400, 'is none that can be read'),
        ({'image': 'https://example.org/a.png'}, 400, 'without --allow-urls'),
        ({'image': 7}, 400, 'image: Input should be a valid string (given: 7)'),
        ({'questions': []}, 400, 'questions: List should have at least 1 item'),
        ({'questions': ['a'] * 17}, 400, '17 questions; at most 16'),
        ({'questions': [' ']}, 400, 'the question is empty'),
        ({'questions': ['the cup', 'the [SEG]']}, 400, 'the token by which the model answers with a mask'),
        ({'questions': [{'question': 'a', 'seed': 1}]}, 400, 'questions.0.seed: Extra inputs are not permitted'),
        ({'questions': [{'question': 'a', 'history': [['b']]}]}, 400, 'questions.0.history.0: List should have at least 2 items'),
        ({'questions': ['a ' * 5000]}, 400, 'at most 4096 are read'),
        ({'options': {'max_new_tokens': 513}}, 400, 'max_new_tokens is 513; this server gives at most 512'),
        ({'options': {'temperature': -1}}, 400, 'options.temperature: Input should be greater than or equal to 0'),
        ({'masks': 'jpg'}, 400, "masks: Input should be 'rle', 'polygons' or 'png'"),
        ({'colour': 'red'}, 400, 'colour: Extra inputs are not permitted'),
    ],
)
def test_a_faulty_request_is_one_sentence(server, change, status, words):
    found = server.ask({**GOOD, **change})
    assert found.status_code == status
    error = found.json()['error']
    assert words in error['message']
    assert error['type'] == 'invalid_request_error'
    assert 'Traceback' not in found.text


def test_a_request_that_is_no_request(server):
    with server.client() as client:
        for content, kind, status, words in (
            (b'{"image": ', 'application/json', 400, 'Invalid JSON'),
            (b'{}', 'application/json', 400, 'image: Field required; questions: Field required. /docs'),
            (b'[]', 'application/json', 400, 'should be an object'),
            (b'{}', 'text/plain', 415, 'send application/json or multipart/form-data'),
            (b'abc', 'multipart/form-data', 400, 'Missing boundary'),
        ):
            found = client.post('/v1/segment', content=content, headers={'Content-Type': kind})
            assert (found.status_code, words in found.json()['error']['message']) == (status, True), found.text
        image = {'image': ('a.png', png_bytes(picture()))}
        for files, data, words in (
            (image, {'question': 'the cup', 'colour': 'red'}, 'unknown fields: colour'),
            ({'image': (None, 'abc')}, {'question': 'the cup'}, 'holds no file'),
            (image, {}, 'questions: List should have at least 1 item'),
            (image, {'question': 'a', 'options': 'force'}, "options: 'force' is no JSON"),
        ):
            found = client.post('/v1/segment', files=files, data=data)
            assert (found.status_code, words in found.json()['error']['message']) == (400, True), found.text
        assert client.get('/v1/segment').status_code == 405
        assert client.get('/v1/masks').json()['error']['message'].startswith('GET /v1/masks: Not Found')
