"""Keys, sizes, places and times: each limit refuses with its own status, and leaves the others unaffected."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from lisa_mm.serving.limits import Limits, Places, RequestError

from .running_server import Slow, base64_of, data_uri, picture, png_bytes, served, until, user

GOOD = {'image': base64_of(picture()), 'questions': ['the cup'], 'options': {'max_new_tokens': 6}}


def error_of(response):
    return response.status_code, response.json()['error']['code']


def metrics(server):
    return httpx.get(f'{server.address}/metrics').text


def test_a_key(inferencer):
    with served(inferencer, key='gehe1m') as server, server.client() as client:
        for headers in (
            {},
            {'Authorization': 'Bearer other'},
            {'Authorization': 'gehe1m'},
            {'Authorization': 'Bearer gehe1m '[:-2]},
        ):
            for found in (
                client.post('/v1/segment', json=GOOD, headers=headers),
                client.post('/v1/chat/completions', content=b'{', headers=headers),
                client.get('/v1/models', headers=headers),
                client.get('/metrics', headers=headers),
                client.get('/v1/other', headers=headers),
            ):
                assert error_of(found) == (401, 'invalid_api_key')
                assert found.headers['www-authenticate'] == 'Bearer'
        with_key = {'Authorization': 'Bearer gehe1m'}
        assert client.post('/v1/segment', json=GOOD, headers=with_key).status_code == 200
        assert client.get('/v1/models', headers=with_key).status_code == 200
        for path in ('/health', '/docs', '/openapi.json'):
            assert client.get(path).status_code == 200
        assert 'HTTPBearer' in client.get('/openapi.json').text
        text = client.get('/metrics', headers=with_key).text
        assert 'lisa_requests_total{path="/v1/segment",status="401"} 4.0' in text


def test_large_requests(inferencer):
    with served(inferencer, limits={'body_bytes': 100_000}) as server, server.client() as client:
        large = {**GOOD, 'image': 'A' * 5_000_000}
        for path in ('/v1/segment', '/v1/chat/completions'):
            assert error_of(client.post(path, json=large)) == (413, 'request_too_large')
            pieces = (b'A' * 10_000 for _ in range(500))  # without a length
            headers = {'Content-Type': 'application/json'}
            assert error_of(client.post(path, content=pieces, headers=headers)) == (413, 'request_too_large')
        form = {'image': ('a.png', bytes(5_000_000))}
        assert error_of(client.post('/v1/segment', files=form, data={'question': 'a'})) == (413, 'request_too_large')
        assert client.post('/v1/segment', json=GOOD).status_code == 200
    assert server.service.places.taken == 0


def test_large_images(inferencer):
    with served(inferencer, limits={'pixels': 40 * 60}) as server:
        assert server.ask(GOOD).status_code == 200
        larger = np.zeros((40, 61, 3), np.uint8)
        found = server.ask({**GOOD, 'image': base64_of(larger)})
        assert error_of(found) == (413, 'image_too_large')
        assert 'the image has 61 x 40 pixels; at most 2,400 are read' in found.json()['error']['message']
        assert server.chat(messages=[user('a', data_uri(larger))]).status_code == 413
        with server.client() as client:
            found = client.post('/v1/segment', files={'image': ('a.png', png_bytes(larger))}, data={'question': 'a'})
        assert found.status_code == 413


def test_places_are_counted_by_questions():
    places = Places(Limits(in_hand=5))
    with places.hold() as first:
        first.need(3)
        with places.hold() as second:
            with pytest.raises(RequestError, match='4 questions are in hand, and 2 more would exceed the limit of 5') as caught:
                second.need(3)
            assert (caught.value.status, caught.value.headers) == (429, {'Retry-After': '1'})
            second.need(2)
            with pytest.raises(RequestError), places.hold():
                pass
            assert places.taken == 5
        assert places.taken == 3
    assert places.taken == 0
    ends = []
    with places.hold() as held:
        held.at_end.append(lambda: ends.append(places.taken))
    assert ends == [0]


def test_a_full_queue(inferencer):
    slow = Slow(inferencer)
    with served(slow, limits={'in_hand': 3}, batch_size=1) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.ask, {**GOOD, 'questions': ['the cup', 'the pot']})
        assert slow.speaks.wait(30)
        found = server.ask({**GOOD, 'questions': ['the cup', 'the pot']})
        assert error_of(found) == (429, 'too_many_questions')
        assert found.headers['retry-after'] == '1'
        second = pool.submit(server.ask, GOOD)
        until(lambda: 'lisa_queue_questions 2.0' in metrics(server))  # another question waits, and one is being answered
        assert 'lisa_in_hand_questions 3.0' in metrics(server)
        assert error_of(server.chat(messages=[user('a', data_uri(picture()))])) == (429, 'too_many_questions')
        slow.may_go.set()
        assert [len(done.result(30).json()['answers']) for done in (first, second)] == [2, 1]
        assert server.ask(GOOD).status_code == 200


def test_the_time_limit(inferencer):
    slow = Slow(inferencer)
    with served(slow, limits={'seconds': 0.5}) as server:
        assert error_of(server.ask(GOOD)) == (504, 'timeout')
        streamed = server.chat(messages=[user('the cup', data_uri(picture()))], stream=True)
        assert streamed.status_code == 200
        assert '"code": "timeout"' in streamed.text
        assert '[DONE]' not in streamed.text
        slow.may_go.set()
        assert server.ask(GOOD).status_code == 200
        assert slow.cancelled[:2] == [[True], [True]]
    assert server.service.places.taken == 0


def test_a_request_that_does_not_arrive(inferencer):
    with served(inferencer, limits={'seconds': 0.3}) as server:
        host, port = server.address.removeprefix('http://').split(':')
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(
                b'POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{'
            )
            assert client.recv(1000).startswith(b'HTTP/1.1 408 ')


def test_who_hangs_up_is_forgotten_and_the_others_are_answered(inferencer):
    slow = Slow(inferencer)
    message = [user('the cup', data_uri(picture(1)))]
    stream = {'model': 'tiny', 'messages': message, 'stream': True, 'max_tokens': 6}
    with served(slow, wait=3600, batch_size=3) as server, ThreadPoolExecutor(2) as pool:
        other = pool.submit(server.ask, GOOD)
        with server.client() as client, client.stream('POST', '/v1/chat/completions', json=stream) as streamed:
            lines = streamed.iter_lines()  # kept: its end would close the connection
            assert '"role": "assistant"' in next(lines)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f'{server.address}/v1/segment', json=GOOD, timeout=1)
            assert slow.speaks.is_set()
        # both have hung up
        until(lambda: 'lisa_in_hand_questions 1.0' in metrics(server))
        slow.may_go.set()
        assert other.result(30).json()['answers'][0]['text'] == inferencer(picture(), 'the cup', max_new_tokens=6).text
        assert slow.batches == [3]
        assert sorted(slow.cancelled[0]) == [False, True, True]
        assert 'lisa_requests_total{path="/v1/segment",status="499"} 1.0' in metrics(server)


def test_a_cancelled_answer_that_must_hold_a_mask_fails_nobody(inferencer):
    slow = Slow(inferencer)
    forced = {**GOOD, 'options': {'force_seg': True, 'max_new_tokens': 6}}
    with served(slow, wait=3600, batch_size=2) as server, ThreadPoolExecutor(1) as pool:
        with server.client() as client:
            other = pool.submit(server.ask, forced)
            with pytest.raises(httpx.ReadTimeout):
                client.post('/v1/segment', json={**forced, 'questions': ['the pot']}, timeout=1)
        until(lambda: 'lisa_in_hand_questions 1.0' in metrics(server))
        slow.may_go.set()
        assert len(other.result(30).json()['answers'][0]['masks']) == 1
        assert slow.batches == [2]


def test_a_fault_of_the_server_is_no_trace(inferencer, caplog):
    class Broken(Slow):
        def forward(self, batch, *, listeners):
            if any(row.request.question == 'bad' for row in batch):
                raise ZeroDivisionError('secret of the server')
            return inferencer.forward(batch, listeners=listeners)

    with served(Broken(inferencer), wait=0.2) as server, ThreadPoolExecutor(2) as pool:
        good = pool.submit(server.ask, GOOD)
        bad = server.ask({**GOOD, 'questions': ['bad']})
        assert error_of(bad) == (500, 'failed')
        assert 'secret' not in bad.text
        assert good.result(30).status_code == 200
        streamed = server.chat(messages=[user('bad', data_uri(picture()))], stream=True)
        assert '"code": "failed"' in streamed.text and 'secret' not in streamed.text
    assert 'secret of the server' in caplog.text
