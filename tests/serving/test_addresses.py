"""Images by address: nothing of the server's own network, nothing too large, no redirections."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lisa_mm.errors import DataError
from lisa_mm.serving import addresses
from lisa_mm.serving.addresses import fetch, is_public
from lisa_mm.serving.limits import RequestError

from .running_server import base64_of, picture, png_bytes, served

PIXELS = picture(8)


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body = {
            '/a.png?b=c': (200, png_bytes(PIXELS)),
            '/large': (200, bytes(5000)),
            '/moved': (302, b''),
        }.get(self.path, (404, b''))
        self.send_response(status)
        if status == 302:
            self.send_header('Location', '/a.png?b=c')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope='module')
def site():
    with ThreadingHTTPServer(('127.0.0.1', 0), Site) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def address(site):
    site.asked.clear()
    return f'http://127.0.0.1:{site.server_port}'


@pytest.mark.parametrize(
    ('host', 'public'),
    [
        ('93.184.215.14', True),
        ('2606:4700::1', True),
        ('127.0.0.1', False),
        ('0.0.0.0', False),
        ('10.1.2.3', False),
        ('172.16.0.1', False),
        ('192.168.1.1', False),
        ('169.254.169.254', False),
        ('100.64.0.1', False),
        ('224.0.0.1', False),
        ('::1', False),
        ('::', False),
        ('fe80::1%eth0', False),
        ('fd00::1', False),
        ('::ffff:127.0.0.1', False),
        ('2002:7f00:1::', False),
        ('64:ff9b::7f00:1', False),
        ('64:ff9b::808:808', True),
    ],
)
def test_public_addresses(host, public):
    assert is_public(host) == public


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '127.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]'])
def test_nothing_is_sent_to_a_private_address(host, address, site):
    with pytest.raises(DataError, match='lies in a private network, which this server does not reach'):
        fetch(address.replace('127.0.0.1', host) + '/a.png?b=c', max_bytes=10_000, seconds=5)
    assert site.asked == []


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    both = [(2, 1, 6, '', ('93.184.215.14', 80)), (2, 1, 6, '', ('10.0.0.1', 80))]
    monkeypatch.setattr(addresses.socket, 'getaddrinfo', lambda *_, **__: both)
    monkeypatch.setattr(addresses.socket, 'create_connection', lambda *_: pytest.fail('a connection is made'))
    for kind in ('http', 'https'):
        with pytest.raises(DataError, match='lies in a private network'):
            fetch(f'{kind}://example.org/', max_bytes=10, seconds=5)


def test_the_checked_address_is_the_one_that_is_reached(monkeypatch):
    reached = []
    monkeypatch.setattr(addresses.socket, 'getaddrinfo', lambda *_, **__: [(2, 1, 6, '', ('93.184.215.14', 80))])

    def connect(place, timeout):
        reached.append(place)
        raise ConnectionRefusedError('no')

    monkeypatch.setattr(addresses.socket, 'create_connection', connect)
    with pytest.raises(DataError, match=r'example\.org/a cannot be read \(no\)'):
        fetch('https://example.org/a', max_bytes=10, seconds=5)
    assert reached == [('93.184.215.14', 443)]


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        ('/none', 'answers with status 404. Give another address'),
        ('/moved', r'/moved names /a\.png\?b=c, which is not followed'),
    ],
)
def test_faults(address, path, words):
    with pytest.raises(DataError, match=words):
        fetch(address + path, max_bytes=4000, seconds=5, allow_private=True)


def test_a_large_file(address):
    with pytest.raises(RequestError, match='is larger than 4,000 bytes') as caught:
        fetch(address + '/large', max_bytes=4000, seconds=5, allow_private=True)
    assert caught.value.status == 413
    assert len(fetch(address + '/large', max_bytes=5000, seconds=5, allow_private=True)) == 5000


@pytest.mark.parametrize(
    'given', ['ftp://example.org/a', 'http://', 'file:///etc/passwd', 'http://a:b/', 'http://[/', 'http://a b/']
)
def test_other_addresses(given):
    with pytest.raises(DataError):
        fetch(given, max_bytes=10, seconds=5)


def test_a_site_that_is_silent():
    with socket.create_server(('127.0.0.1', 0)) as silent, pytest.raises(DataError, match='timed out'):
        fetch(f'http://127.0.0.1:{silent.getsockname()[1]}/', max_bytes=10, seconds=0.2, allow_private=True)


def test_a_served_image_by_its_address(inferencer, address):
    how = {'questions': ['the cup'], 'options': {'no_text': True}}
    with served(inferencer, allow_urls=True) as server:
        found = server.ask({'image': f'{address}/a.png?b=c', **how})
        assert found.status_code == 400
        assert 'lies in a private network' in found.json()['error']['message']
    with served(inferencer, allow_urls=True, allow_private=True) as server:
        found = server.ask({'image': f'{address}/a.png?b=c', **how}).json()
        assert found == server.ask({'image': base64_of(PIXELS), **how}).json()
