"""Questions to a tiny model, alone, in lists and bit by bit: each answer is the one its question gets alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_mm.apis import Answer, LISAInferencer, Request
from lisa_mm.apis.preparing import join
from lisa_mm.errors import ConfigError, DataError, UserError
from lisa_mm.models.decoding import AnswerOptions
from lisa_mm.structures import SegDataSample

from ..models.families import MAKERS, whole_model
from ..models.language_families import language_model
from ..models.whole import build, put_together

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 255, size, dtype=np.uint8) for size in ((48, 64, 3), (37, 53, 3), (64, 40, 3))]
QUESTIONS = ['the ball', 'Which cup is red?', 'the big red box on the left']
FORCED = {'force_seg': True, 'max_new_tokens': 4}


@pytest.fixture(scope='module')
def inferencer():
    return LISAInferencer(build(put_together()), show_progress=False)


def same(one, other):
    assert one.text == other.text and one.asked == other.asked
    assert one.masks.shape == other.masks.shape
    np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=1e-4)
    np.testing.assert_allclose(one.seg_logits, other.seg_logits, atol=1e-4)


def test_lists_are_answered_as_single_questions_are(inferencer):
    images = [image for image in PICTURES for _ in QUESTIONS]
    together = inferencer(images, QUESTIONS * 3, batch_size=4, **FORCED)
    assert len(together) == 9
    for image, question, answer in zip(images, QUESTIONS * 3, together, strict=True):
        same(inferencer(image, question, **FORCED), answer)
        assert answer.question == question and len(answer.masks) == 1 and answer.masks.shape[1:] == image.shape[:2]


def test_rows_keep_their_order_where_images_alternate(inferencer):
    images = [PICTURES[0], PICTURES[1], PICTURES[0]]
    for answer, image, question in zip(inferencer(images, QUESTIONS, **FORCED), images, QUESTIONS, strict=True):
        assert answer.question == question and answer.image is not None and np.array_equal(answer.image, image)
        same(inferencer(image, question, **FORCED), answer)


@pytest.mark.parametrize('family', ['mistral', 'gemma2', *MAKERS])
def test_models_whose_rows_share_no_prefix(family, tmp_path):
    whole = family in MAKERS
    model = build(whole_model(family, tmp_path) if whole else {**put_together(), 'language_model': language_model(family)})
    inferencer = LISAInferencer(model, show_progress=False)
    together = inferencer([PICTURES[0], PICTURES[0], PICTURES[1]], QUESTIONS, **FORCED)
    for image, question, answer in zip([PICTURES[0], PICTURES[0], PICTURES[1]], QUESTIONS, together, strict=True):
        same(inferencer(image, question, **FORCED), answer)


def test_each_image_goes_through_both_encoders_once(monkeypatch):
    inferencer = LISAInferencer(build(put_together()), show_progress=False)
    seen = {'tower': 0, 'mask decoder': 0}

    def counted(name, function):
        def call(pixels):
            seen[name] += len(pixels)
            return function(pixels)

        return call

    model = inferencer.model
    monkeypatch.setattr(model.mllm, 'encode_image', counted('tower', model.mllm.encode_image))
    monkeypatch.setattr(model.mask_decoder, 'encode_image', counted('mask decoder', model.mask_decoder.encode_image))
    inferencer([image for image in PICTURES for _ in QUESTIONS], QUESTIONS * 3, batch_size=9, **FORCED)
    assert seen == {'tower': 3, 'mask decoder': 3}
    inferencer(PICTURES[2], 'the ball', **FORCED)  # the last one is remembered
    assert seen['mask decoder'] == 3


def test_options_of_a_request_are_its_own(inferencer):
    """One batch: free, cut short, forced to a mask, a mask alone, drawn."""
    options = [
        AnswerOptions(max_new_tokens=6),
        AnswerOptions(max_new_tokens=2),
        AnswerOptions(max_new_tokens=5, force_seg=True),
        AnswerOptions(no_text=True),
        AnswerOptions(max_new_tokens=6, temperature=1.0, seed=4),
    ]
    requests = [Request(PICTURES[0], 'the ball', options=one) for one in options]
    together = list(inferencer.answers(requests))
    for request, answer in zip(requests, together, strict=True):
        same(next(iter(inferencer.answers([request]))), answer)
    free, short, forced, bare, drawn = together
    assert free.text.startswith(short.text) and free.text != short.text and short.cut
    assert '[SEG]' in forced.text and bare.text == '[SEG]' and not bare.cut
    assert drawn.text != free.text


def test_a_mask_alone_is_the_mask_of_the_published_validation(inferencer):
    """``no_text`` reads the state that predicts [SEG] right behind the prompt, as validation with the answer '[SEG].' does."""
    model = inferencer.model
    answer = inferencer(PICTURES[0], 'the ball', no_text=True)
    prepared = inferencer.preparer.prepare(Request(PICTURES[0], 'the ball'))
    batch = join([prepared], 3)
    batch.inputs['input_ids'] = torch.cat([batch.inputs['input_ids'], torch.tensor([[model.seg_token_id, 9]])], dim=1)
    batch.inputs['attention_mask'] = torch.ones_like(batch.inputs['input_ids'], dtype=torch.bool)
    data = model.data_preprocessor({'inputs': batch.inputs, 'data_samples': batch.samples})
    predicted = model.predict(data['inputs'], data['data_samples'])[0].mask_logits
    np.testing.assert_allclose(answer.mask_logits, predicted.numpy(), atol=1e-4)


def test_a_stream_ends_with_the_answer(inferencer):
    events = list(inferencer.stream(PICTURES[0], 'the ball', **FORCED))
    answer = events.pop()
    assert isinstance(answer, Answer)
    same(inferencer(PICTURES[0], 'the ball', **FORCED), answer)
    assert ''.join(event for event in events if isinstance(event, str)).strip() == answer.text
    masks = [event for event in events if isinstance(event, tuple)]
    assert [index for index, _ in masks] == [0]
    np.testing.assert_allclose(masks[0][1].numpy(), answer.mask_logits[0], atol=1e-4)


def test_a_closed_stream_ends_its_answer(inferencer):
    stream = inferencer.stream(PICTURES[0], 'the ball', max_new_tokens=500)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == 'answer']
    assert len(inferencer(PICTURES[0], 'the ball', max_new_tokens=2).masks) == 0  # free for the next question


def test_an_error_in_a_stream_is_raised(inferencer, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'generate', lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(inferencer.stream(PICTURES[0], 'the ball'))


def test_history(inferencer):
    first = inferencer(PICTURES[0], 'the ball', **FORCED)
    second = inferencer(PICTURES[0], 'and the cup', history=[first.turn], **FORCED)
    assert (first.earlier, second.earlier, len(second.masks)) == (0, 1, 2)
    assert [number for _, number in second.pieces if number is not None] == [1]
    assert len(second.to_dict()['masks']) == 1


def test_what_is_asked(inferencer):
    ask = inferencer(PICTURES[0], ['the ball', 'Which is red?', 'Please segment the cup.'], max_new_tokens=1)
    assert [answer.asked for answer in ask] == [
        'What is the ball in this image? Please output segmentation mask.',
        'Which is red? Please output segmentation mask.',
        'Please segment the cup.',
    ]
    assert inferencer(PICTURES[0], 'the ball', raw=True, max_new_tokens=1).asked == 'the ball'


def test_folders_and_samples(inferencer, tmp_path):
    for name in ('b/2.png', 'a.PNG', 'b/1.jpg'):
        (tmp_path / 'photos' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[1]).save(tmp_path / 'photos' / name)
    (tmp_path / 'photos' / 'notes.txt').write_text('no image')
    answers = inferencer(tmp_path / 'photos', 'the ball', out_dir=tmp_path / 'out', **FORCED)
    assert [answer.name.rpartition('photos/')[2] for answer in answers] == ['a.PNG', 'b/1.jpg', 'b/2.png']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir())[:2] == ['1_mask_0.png', '1_overlay.png']
    sample = inferencer(tmp_path / 'photos' / 'a.PNG', 'the ball', return_datasamples=True, **FORCED)
    assert isinstance(sample, SegDataSample)
    assert sample.answers == [answers[0].text] and tuple(sample.mask_logits.shape) == (1, 37, 53)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(questions=['a', 'b']), '3 images and 2 questions: lists are paired'),
        (dict(questions=[]), 'the list of questions is empty'),
        (dict(images=[]), 'the list of images is empty'),
        (dict(questions=''), 'the question is empty'),
        (dict(questions='a', temperature=-1), 'temperature is -1'),
        (dict(questions='a', top_p=0), 'top_p is 0'),
        (dict(questions='a', top_k=1.5), 'top_k is 1.5'),
        (dict(questions='a', seed=-1), 'seed is -1'),
        (dict(questions='a', batch_size=0), 'batch_size is 0'),
        (dict(questions='a', max_new_tokens=0), 'max_new_tokens is 0'),
        (dict(images='nowhere.png', questions='a'), 'no such file'),
    ],
)
def test_wrong_arguments(inferencer, arguments, words):
    with pytest.raises(DataError, match=words):
        inferencer(**{'images': PICTURES, 'questions': 'a', **arguments})


def test_an_empty_folder(inferencer, tmp_path):
    with pytest.raises(DataError, match='holds no image'):
        inferencer(tmp_path, 'a')


def test_nothing_shows_images_here(inferencer, monkeypatch):
    monkeypatch.setattr('lisa_mm.apis.inferencer.ImageShow.show', lambda image: False)
    with pytest.raises(UserError, match='no program that shows images'):
        inferencer(PICTURES[0], 'a', show=True, max_new_tokens=1)


def test_a_plugin_that_ignores_the_rules(inferencer, monkeypatch):
    generate = inferencer.model.generate

    def without_rules(*args, logits_processor=None, **kwargs):
        return generate(*args, **kwargs)

    monkeypatch.setattr(inferencer.model, 'generate', without_rules)
    with pytest.raises(ConfigError, match='applies logits_processor'):
        inferencer(PICTURES[0], 'a', **FORCED)
