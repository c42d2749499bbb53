"""What every request passes: its key, its size, its place among the others, its time; and the numbers about it."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import GONE, RequestError
from .service import Service

OPEN = ('/', '/health', '/docs', '/openapi.json')  # without a key
ANSWERING = ('/v1/segment', '/v1/chat/completions')
KNOWN = (*OPEN, *ANSWERING, '/v1/models', '/metrics')


class Gate:
    """Middleware around the whole app.

    Args:
        app: The app.
        service: Its model, with the limits.
    """

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        begin, status = time.monotonic(), 500
        path = scope['path'] if scope['path'] in KNOWN else 'other'

        async def sending(message: Message) -> None:
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
            await send(message)

        try:
            self._check_key(path, Headers(scope=scope))
            if path in ANSWERING and scope['method'] == 'POST':
                await self._answer(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        except RequestError as error:
            await refusal(error)(scope, receive, sending)
        except asyncio.CancelledError:
            status = GONE
            raise
        finally:
            self.service.metrics.requests.labels(path, str(status)).inc()
            self.service.metrics.seconds.labels(path).observe(time.monotonic() - begin)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Run the app with a place and limits for the body."""
        self.service.check_ready()
        limit = self.service.settings.limits.body_bytes
        length = Headers(scope=scope).get('content-length', '')
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        with self.service.places.hold() as held:
            size, is_read = 0, False

            async def receiving() -> Message:
                nonlocal size, is_read
                if is_read:
                    return await receive()
                try:
                    message = await asyncio.wait_for(receive(), held.left)
                except asyncio.TimeoutError:
                    raise RequestError(408, 'the request took too long to arrive. Send it again.', 'slow_request') from None
                size += len(message.get('body', b''))
                is_read = not message.get('more_body', False)
                if size > limit:
                    raise _too_large(limit)
                return message

            scope.setdefault('state', {})['held'] = held
            await self.app(scope, receiving, send)

    def _check_key(self, path: str, headers: Headers) -> None:
        key = self.service.settings.key
        if key is None or path in OPEN:
            return
        given = headers.get('authorization', '')
        if not hmac.compare_digest(given.encode(), f'Bearer {key}'.encode()):
            raise RequestError(
                401,
                'the key is missing or wrong. Send the header "Authorization: Bearer KEY".',
                'invalid_api_key',
                {'WWW-Authenticate': 'Bearer'},
            )


def refusal(error: RequestError) -> JSONResponse:
    """The answer that an error is."""
    return JSONResponse(error.body, error.status, error.headers)


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f'the request is larger than {limit:,} bytes. Send a smaller image.', 'request_too_large')
