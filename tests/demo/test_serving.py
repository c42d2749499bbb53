from __future__ import annotations

import socket
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from lisa_mm.demo.answering import Model
from lisa_mm.demo.layers import mask_layers
from lisa_mm.demo.limits import Limits
from lisa_mm.demo.page import Page
from lisa_mm.demo.serving import build_app, open_socket, short_names
from lisa_mm.demo.talk import Exchange, Talk, Visit
from lisa_mm.errors import UserError

from .building import in_loop


@pytest.fixture
def page() -> Page:
    models = [Model('runs/ä b', SimpleNamespace(load=None))]
    return in_loop(lambda: Page(models, Limits(upload_mb=0.001)))


def test_only_who_has_the_key_gets_the_masks(page: Page) -> None:
    image, logits = np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), np.float32)
    layers = mask_layers(image, logits, ['a'])
    talk = Talk((Exchange('a'),), image=image, logits=logits, seg_logits=np.zeros(1, np.float32), layers=layers)
    page.visits.put('key', Visit([talk]))
    with TestClient(in_loop(lambda: build_app(page))) as client:
        for address in ('/download/other/0', '/download/key/1', '/download/key/-1'):
            found = client.get(address)
            assert (found.status_code, found.text) == (404, 'These masks are no longer on the server. Ask again.')
        assert client.get('/download/key/0?threshold=1').status_code == 400
        assert client.get('/download/key/0?threshold=x').status_code == 422
        found = client.get('/download/key/0')
        assert found.status_code == 200
        assert found.headers['content-disposition'] == 'attachment; filename="runs_b_masks.zip"'
        assert found.headers['cache-control'] == 'no-store'


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    with TestClient(in_loop(lambda: build_app(page))) as client:
        found = client.get('/')
        assert found.status_code == 200
        assert "default-src 'self'" in found.headers['content-security-policy']
        assert 'http' not in found.headers['content-security-policy']


def test_a_file_above_the_limit_is_refused(page: Page) -> None:
    with TestClient(in_loop(lambda: build_app(page))) as client:
        assert client.post('/gradio_api/upload', files={'files': ('a.png', bytes(1000))}).status_code == 200
        assert client.post('/gradio_api/upload', files={'files': ('a.png', bytes(1100))}).status_code == 413


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'port {port} .*Give another port'):
            open_socket('127.0.0.1', port)
    for host in ('203.0.113.1', 'no such host'):
        with pytest.raises(UserError, match='cannot listen'):
            open_socket(host, 0)
    for port in (-1, 2**16):
        with pytest.raises(UserError, match='does not exist'):
            open_socket('127.0.0.1', port)
    with open_socket('127.0.0.1', 0) as free:
        assert free.getsockname()[1] > 0


def test_names_are_as_long_as_needed() -> None:
    assert short_names(['work_dirs/lisa_nano/']) == ['lisa_nano']
    assert short_names(['a/b/best', 'a/c/best', 'd']) == ['b/best', 'c/best', 'd']
    assert short_names(['a', 'b', 'a']) == ['a (1)', 'b', 'a (2)']
