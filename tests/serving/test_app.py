"""Health, metrics and the page of the fields."""

from __future__ import annotations

import threading

import httpx
import pytest

from lisa_mm.apis.requests import Request
from lisa_mm.errors import ConfigError

from .running_server import base64_of, data_uri, picture, served, user

GOOD = {'image': base64_of(picture()), 'questions': ['the cup', 'the pot'], 'options': {'max_new_tokens': 6}}


def test_health_while_the_model_loads(inferencer):
    may_load = threading.Event()

    def load():
        assert may_load.wait(30)
        return inferencer

    with served(load, wait_ready=False) as server:
        health = httpx.get(f'{server.address}/health')
        assert (health.status_code, health.json()) == (503, {'status': 'loading'})
        found = server.ask(GOOD)
        assert (found.status_code, found.json()['error']['code']) == (503, 'loading')
        assert found.headers['retry-after'] == '5'
        may_load.set()
        server.service._loader.join()
        health = httpx.get(f'{server.address}/health')
        assert (health.status_code, health.json()) == (200, {'status': 'ready'})


def test_a_model_that_cannot_be_loaded_ends_the_server():
    def load():
        raise ConfigError('no such weights')

    with served(load) as server:
        server.thread.join(30)
        assert not server.thread.is_alive()
    assert isinstance(server.service.fault, ConfigError)


def test_metrics_count(inferencer):
    with served(inferencer) as server:
        answers = server.ask(GOOD).json()['answers']
        streamed = server.chat(messages=[user('the cup', data_uri(picture()))], max_tokens=6, stream=True)
        assert streamed.status_code == 200
        text = httpx.get(f'{server.address}/metrics').text
    prepared = inferencer.preparer.prepare
    assert len(answers) == 2
    for line in (
        'lisa_requests_total{path="/v1/segment",status="200"} 1.0',
        'lisa_requests_total{path="/v1/chat/completions",status="200"} 1.0',
        'lisa_request_seconds_count{path="/v1/segment"} 1.0',
        'lisa_batch_questions_count 2.0',
        'lisa_batch_questions_sum 3.0',
        'lisa_queue_questions 0.0',
        'lisa_tokens_total{kind="answer"} 18.0',
    ):
        assert line in text
    tokens = sum(len(prepared(Request(picture(), question)).ids) for question in ('the cup', 'the cup', 'the pot'))
    assert f'lisa_tokens_total{{kind="prompt"}} {tokens}.0' in text


def test_the_page_of_the_fields(server):
    with server.client(follow_redirects=True) as client:
        assert 'swagger-ui' in client.get('/').text
        schema = client.get('/openapi.json').json()
        paths = schema['paths']
        assert set(paths) == {'/v1/segment', '/v1/chat/completions', '/v1/models', '/v1/models/{model}', '/health', '/metrics'}
        assert all(f'#/components/schemas/{name}' in str(paths) for name in ('SegmentRequest', 'ChatRequest'))
        for place in references(schema):
            value = schema
            for key in place.removeprefix('#/').split('/'):
                value = value[key]
        for path in ('/v1/segment', '/v1/chat/completions'):
            example = paths[path]['post']['requestBody']['content']['application/json']['example']
            found = client.post(path, json=example)
            assert found.status_code == 200, found.text


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value['$ref']] if isinstance(value.get('$ref'), str) else []
        return own + [place for inner in value.values() for place in references(inner)]
    return [place for inner in value for place in references(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize('path', ['/v2', '/v1/segments'])
def test_unknown_addresses_are_one_label(server, path):
    with server.client() as client:
        assert client.get(path).status_code == 404
        assert 'path="other",status="404"' in client.get('/metrics').text
        assert path not in client.get('/metrics').text.replace('/v1/segment"', '')
