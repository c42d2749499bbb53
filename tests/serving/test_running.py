"""The end of the server: what is in hand is answered, what comes is refused."""

from __future__ import annotations

import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lisa_mm.apis.loading import prepare_model
from lisa_mm.checkpoints import folder as folders
from lisa_mm.errors import UserError
from lisa_mm.models import LISA
from lisa_mm.serving.running import serve
from lisa_mm.serving.service import Service, Settings
from lisa_mm.testing.tiny import MODEL, training

from .running_server import Slow, base64_of, data_uri, events, picture, served, until, user

ROOT = Path(__file__).parents[2]
GOOD = {'image': base64_of(picture()), 'questions': ['the cup'], 'options': {'max_new_tokens': 6}}


def test_what_is_in_hand_is_answered_and_what_comes_is_refused(inferencer):
    slow = Slow(inferencer)
    with served(slow, batch_size=1) as server, ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(server.ask, GOOD) for _ in range(2)]
        assert slow.speaks.wait(30)
        until(lambda: server.service.places.taken == 2)  # one is being answered, one waits
        server.server.handle_exit(signal.SIGTERM, None)
        health = httpx.get(f'{server.address}/health')
        assert (health.status_code, health.json()) == (503, {'status': 'shutting down'})
        refused = server.ask(GOOD)
        assert (refused.status_code, refused.json()['error']['code']) == (503, 'shutting_down')
        assert server.thread.is_alive()
        slow.may_go.set()
        assert [one.result(30).status_code for one in pending] == [200, 200]
        server.thread.join(30)
        assert not server.thread.is_alive()
        assert server.server.unanswered == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f'{server.address}/health')


@pytest.mark.parametrize('again', [False, True])
def test_what_takes_too_long_gets_an_error(inferencer, again):
    slow = Slow(inferencer)
    with served(slow, batch_size=1, grace=3600 if again else 0.1) as server, ThreadPoolExecutor(2) as pool:
        asked = pool.submit(server.ask, GOOD)
        assert slow.speaks.wait(30)
        streamed = pool.submit(server.chat, messages=[user('a', data_uri(picture()))], stream=True)
        until(lambda: server.service.places.taken == 2)
        server.server.handle_exit(signal.SIGTERM, None)
        if again:
            server.server.handle_exit(signal.SIGINT, None)
        found = asked.result(30)
        assert (found.status_code, found.json()['error']['code']) == (503, 'shutting_down')
        assert events(streamed.result(30).text)[-1]['error']['code'] == 'shutting_down'
        server.thread.join(30)
        assert server.server.unanswered == 2


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """A work folder of the tiny model."""
    folder = tmp_path_factory.mktemp('work') / 'tiny.v1'
    checkpoint = folder / 'iter_2'
    checkpoint.mkdir(parents=True)
    source = training(MODEL, folder, LISA)
    model = prepare_model(source, None, device='cpu').load()
    (folder / 'config.py').write_text(source.pretty_text)
    digest = folders.write_weights(checkpoint, folders.model_weights(model))
    folders.write_json(checkpoint / folders.FROZEN, {})
    folders.write_json(checkpoint / folders.META, {'iter': 2, 'weights_sha256': digest})
    return folder


def started(*words, **variables):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **variables}
    return subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.PIPE, text=True, env=environment)


def address_of(process):
    """Its address, once it listens."""
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r'running on (http://\S+)', line)
        if found:
            return found[1]
    raise AssertionError(''.join(said))


def test_sigterm_while_answering(work):
    with started(ROOT / 'tools' / 'serve.py', work, '--port', 0, LISA_MM_API_KEY='key') as process:
        address = address_of(process)
        until(lambda: httpx.get(f'{address}/health').status_code == 200)
        body = {'model': 'tiny.v1', 'messages': [user('the cup', data_uri(picture()))], 'stream': True, 'max_tokens': 300}
        body |= {'temperature': 1, 'lisa': {'force_seg': True}}
        headers = {'Authorization': 'Bearer key'}
        address += '/v1/chat/completions'
        with httpx.Client(timeout=60) as client, client.stream('POST', address, json=body, headers=headers) as streamed:
            assert streamed.status_code == 200
            lines = streamed.iter_lines()
            first = next(line for line in lines if '"content": "' in line)
            process.send_signal(signal.SIGTERM)
            rest = '\n\n'.join(line for line in lines if line)
        *chunks, done = events(rest)
        assert first and done == '[DONE]'
        assert len(chunks[-1]['choices'][0]['delta']['lisa']['masks']) >= 1
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ('words', 'status', 'said'),
    [
        (('none',), 1, 'does not exist'),
        (('tiny', '--port', '-1'), 2, "'-1' is no whole number from 0 on"),
        (('tiny', '--batch', '0'), 2, "'0' is no whole number from 1 on"),
        (('tiny', '--time-limit', 'nan'), 2, "'nan' is no number from 0.001 on"),
        (('tiny', '--wait-ms', '-1'), 2, "'-1' is no number from 0 on"),
        (('tiny', '--api-key', 'clé'), 2, 'which a header cannot'),
        (('tiny', '--allow-private'), 2, 'no effect without --allow-urls'),
        (('tiny', '--api-key', ''), 2, 'the key is empty'),
        (('tiny', 'a', 'b'), 2, '3 words; give FOLDER'),
    ],
)
def test_what_cannot_be_served_is_said_at_once(words, status, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['serve.py', *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools' / 'serve.py'), run_name='__main__')
    assert ended.value.code == status
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken(inferencer, capsys):
    service = Service(lambda: pytest.fail('the model is loaded'), Settings('tiny'))
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'the server could not start at 127.0.0.1:{port}'):
            serve(service, host='127.0.0.1', port=port, grace=1)
    assert 'address already in use' in capsys.readouterr().err


LOADS = """
import time
from lisa_mm.serving.running import serve
from lisa_mm.serving.service import Service, Settings

serve(Service(lambda: time.sleep(3600), Settings('tiny')), host='127.0.0.1', port=0, grace=30)
"""


def test_sigterm_while_loading():
    with started('-c', LOADS) as process:
        address = address_of(process)
        assert httpx.get(f'{address}/health').json() == {'status': 'loading'}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
