"""Images that clients name by their address, fetched without a way into the server's own network."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from contextlib import suppress
from urllib.parse import urlsplit

from ..errors import DataError
from .limits import RequestError

TIMEOUT = 10.0  # seconds without a byte
_NAT64 = ipaddress.ip_network('64:ff9b::/96')


def fetch(address: str, *, max_bytes: int, seconds: float, allow_private: bool = False) -> bytes:
    """Get a file.

    Args:
        address: An http(s) address. Redirections are not followed.
        max_bytes: Its size, at most.
        seconds: Time until its last byte, at most.
        allow_private: Reach addresses of this machine and of private networks too.

    Raises:
        DataError: if the address is none of these, or does not answer with a file.
        RequestError: 413 if the file is too large.
    """
    end = time.monotonic() + seconds
    try:
        parts = urlsplit(address)
        kind = {'http': _Http, 'https': _Https}[parts.scheme]
        connection = kind(parts.hostname or '', parts.port, timeout=min(TIMEOUT, seconds))
    except (KeyError, ValueError, http.client.InvalidURL) as error:
        raise DataError(f'{address} is no http or https address. Give one, or the image itself in base64.') from error
    connection.allow_private = allow_private
    path = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
    try:
        connection.request('GET', path, headers={'User-Agent': 'lisa_mm'})
        with connection.getresponse() as response:
            _check_status(address, response)
            content = bytearray()
            while piece := response.read1(1 << 16):
                content += piece
                if len(content) > max_bytes:
                    message = f'{address} is larger than {max_bytes:,} bytes. Give a smaller file.'
                    raise RequestError(413, message, 'image_too_large')
                if time.monotonic() > end:
                    raise DataError(f'{address} took longer than {seconds:.3g} seconds. Send the image itself in base64.')
            return bytes(content)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f'{address} cannot be read ({error}). Give another address, or the image itself in base64.') from error
    finally:
        connection.close()


def _check_status(address: str, response: http.client.HTTPResponse) -> None:
    moved = response.getheader('Location')
    if moved:
        raise DataError(f'{address} names {moved}, which is not followed. Give the final address.')
    if response.status != 200:
        raise DataError(f'{address} answers with status {response.status}. Give another address.')


def is_public(host: str) -> bool:
    """Whether an IP address is one of the open internet; one that carries an IPv4 address is judged by that.

    >>> [is_public(host) for host in ('8.8.8.8', '10.0.0.1', '127.0.0.1', '169.254.169.254', '::ffff:10.0.0.1')]
    [True, False, False, False, False]
    """
    address = ipaddress.ip_address(host.partition('%')[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return address.is_global and not address.is_multicast


class _Http(http.client.HTTPConnection):
    """Connects to an IP address that was checked, so that a name cannot change its meaning in between."""

    allow_private = False

    def connect(self) -> None:
        self.sock = self._open()

    def _open(self) -> socket.socket:
        hosts = [str(info[4][0]) for info in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)]
        is_refused = not self.allow_private and not all(map(is_public, hosts))
        if is_refused:  # an address would tell about that network
            raise ValueError(f'{self.host} lies in a private network, which this server does not reach')
        for host in hosts[:-1]:
            with suppress(OSError):  # the next one may answer
                return socket.create_connection((host, self.port), self.timeout)
        return socket.create_connection((hosts[-1], self.port), self.timeout)


class _Https(_Http):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        self.sock = ssl.create_default_context().wrap_socket(self._open(), server_hostname=self.host)
