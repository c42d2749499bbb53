"""OpenAI's package and its events, with masks in a further field."""

from __future__ import annotations

import openai
import pytest

from lisa_mm.apis.requests import Request
from lisa_mm.serving.replies import describe

from .running_server import data_uri, events, picture, user

LISA = {'force_seg': True}
URI = data_uri(picture())


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f'{server.address}/v1', api_key='none', max_retries=0) as client:
        yield client


def test_the_package_gets_the_answer_of_the_inferencer(client, inferencer):
    pixels = picture(1)
    answer = client.chat.completions.create(
        model='tiny', messages=[user('the cup', data_uri(pixels))], max_tokens=12, extra_body={'lisa': LISA}
    )
    wanted = inferencer(pixels, 'the cup', max_new_tokens=12, **LISA)
    [choice] = answer.choices
    assert choice.message.content == wanted.text
    assert choice.message.lisa == describe(wanted)
    assert choice.finish_reason == ('length' if wanted.cut else 'stop')
    assert answer.usage.completion_tokens == wanted.new_tokens
    prepared = inferencer.preparer.prepare(Request(pixels, 'the cup'))
    assert answer.usage.prompt_tokens == len(prepared.ids)
    assert answer.usage.total_tokens == len(prepared.ids) + wanted.new_tokens


def test_a_second_question_has_the_first_one_as_history(client, inferencer):
    pixels = picture(2)
    first = inferencer(pixels, 'the cup', force_seg=True, max_new_tokens=10)
    messages = [
        user('the cup', data_uri(pixels)),
        {'role': 'assistant', 'content': first.text, 'lisa': {'masks': []}},
        user('the pot'),
    ]
    answer = client.chat.completions.create(
        model='tiny',
        messages=messages,
        temperature=1,
        top_p=0.9,
        seed=3,
        max_completion_tokens=10,
        extra_body={'lisa': {**LISA, 'top_k': 50, 'masks': 'polygons'}},
    )
    how = dict(force_seg=True, temperature=1, top_p=0.9, top_k=50, seed=3, max_new_tokens=10)
    wanted = inferencer(pixels, 'the pot', history=[first.turn], **how)
    assert answer.choices[0].message.content == wanted.text
    assert answer.choices[0].message.lisa == describe(wanted, 'polygons')


def test_raw_questions_are_asked_as_they_are(server, inferencer):
    pixels = picture(2)
    found = server.chat(messages=[user('the cup', data_uri(pixels))], max_tokens=6, lisa={'raw': True}).json()
    message = found['choices'][0]['message']
    assert message['lisa']['asked'] == 'the cup'
    assert message['content'] == inferencer(pixels, 'the cup', raw=True, max_new_tokens=6).text


def test_a_stream_is_the_answer_in_pieces(client, inferencer):
    pixels = picture(3)
    wanted = inferencer(pixels, 'the cup', max_new_tokens=12, **LISA)
    chunks = list(
        client.chat.completions.create(
            model='tiny',
            messages=[user('the cup', data_uri(pixels))],
            max_tokens=12,
            stream=True,
            stream_options={'include_usage': True},
            extra_body={'lisa': LISA},
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert len([piece for piece in pieces if piece]) > 3
    assert ''.join(filter(None, pieces)) == wanted.text
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ['length']
    assert chunks[-2].choices[0].delta.lisa == describe(wanted)
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == wanted.new_tokens


def test_events_end_with_done(server):
    found = server.chat(messages=[user('the cup', URI)], max_tokens=4, stream=True)
    assert found.headers['content-type'].startswith('text/event-stream')
    *chunks, done = events(found.text)
    assert done == '[DONE]'
    assert chunks[0]['choices'][0]['delta'] == {'role': 'assistant', 'content': ''}
    assert all('usage' not in chunk for chunk in chunks)


def test_models(client):
    assert [model.id for model in client.models.list()] == ['tiny']
    assert client.models.retrieve('tiny').owned_by == 'lisa_mm'
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.models.retrieve('gpt')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'messages': []}, 'messages: List should have at least 1 item'),
        ({'messages': [user('the cup')]}, 'messages.0 holds 0 images; give one'),
        ({'messages': [{'role': 'system', 'content': 'Be kind.'}, user('a', URI)]}, "messages.0: the role 'system' is not taken"),
        (
            {'messages': [user('a', URI), {'role': 'assistant', 'content': 'b'}, user('c', URI)]},
            'messages.2 holds an image; only',
        ),
        ({'messages': [user('a', URI), user('b')]}, "messages.1: its role is 'user', expected 'assistant'"),
        ({'messages': [user('a', URI), {'role': 'assistant', 'content': 'b'}]}, 'the last one is an answer'),
        ({'messages': [user('', URI)]}, 'the question is empty'),
        ({'messages': [user('a', 'https://example.org/a.png')]}, 'without --allow-urls'),
        ({'messages': [user('a', 'data:image/png;base64,AAAA')]}, 'is none that can be read'),
        ({'max_tokens': 513}, 'at most 512'),
        ({'max_tokens': 3, 'max_completion_tokens': 4}, 'Give one of them'),
        ({'n': 2}, 'n: Input should be 1 (given: 2)'),
        ({'tools': []}, 'tools: Extra inputs are not permitted'),
        ({'lisa': {'mask': 'png'}}, 'lisa.mask: Extra inputs'),
    ],
)
def test_a_faulty_request_is_one_sentence(server, change, words):
    for stream in (False, True):
        found = server.chat(**{'messages': [user('a', URI)], 'stream': stream, **change})
        assert found.status_code == 400, found.text
        assert words in found.json()['error']['message']


def test_two_images(server):
    message = user('which?', URI)
    message['content'].append(message['content'][1])
    found = server.chat(messages=[message])
    assert found.status_code == 400
    assert 'messages.0 holds 2 images; give one' in found.json()['error']['message']


def test_another_model(client):
    with pytest.raises(openai.NotFoundError, match="the model 'gpt' is not here"):
        client.chat.completions.create(model='gpt', messages=[user('a', URI)])
