"""Run the server until a signal, then finish what was asked."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from types import FrameType

import uvicorn

from ..errors import UserError
from .app import create_app
from .service import Service

logger = logging.getLogger('uvicorn.error')
LAST_SECONDS = 5  # to send the errors of what was not finished


class Server(uvicorn.Server):
    """Ends in good order: after SIGTERM or Ctrl-C new questions get a 503, and those in hand are answered first.

    Args:
        service: The model.
        host: Address to listen at.
        port: Its port; 0 takes a free one.
        grace: Seconds to answer what is in hand.
        log_level: See uvicorn.
    """

    def __init__(
        self, service: Service, *, host: str = '127.0.0.1', port: int = 8000, grace: float = 30, log_level: str = 'info'
    ):
        config = uvicorn.Config(
            create_app(service), host=host, port=port, log_level=log_level, timeout_graceful_shutdown=LAST_SECONDS, lifespan='on'
        )
        super().__init__(config)
        self.service, self.grace = service, grace
        self.unanswered = 0
        self._end = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and then begin to load the model."""
        await super().startup(sockets)
        self.service.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once."""
        if self.service.is_closing:
            self._end = 0.0
            return
        self.service.is_closing = True
        self._end = time.monotonic() + self.grace

    async def on_tick(self, counter: int) -> bool:
        """End when nothing is in hand any more, or the time is over."""
        if self.service.fault is not None:
            return True
        taken = self.service.places.taken
        if self.service.is_closing and not self.should_exit and (not taken or time.monotonic() >= self._end):
            if taken:
                logger.error('%d questions were not answered in time', taken)
            self.unanswered = taken
            self.service.stop_answering(LAST_SECONDS)
            self.should_exit = True
        return await super().on_tick(counter)


def serve(service: Service, *, host: str, port: int, grace: float) -> None:
    """Serve until SIGTERM or Ctrl-C; arguments as in :class:`Server`.

    Raises:
        UserError: if the model cannot be loaded, the address is taken, or questions were left unanswered.
    """
    server = Server(service, host=host, port=port, grace=grace)
    try:
        server.run()
    except SystemExit as error:  # uvicorn has logged why
        raise UserError(f'the server could not start at {host}:{port}; the line above says why.') from error
    if service.fault is not None:
        raise service.fault
    if server.unanswered:
        fault = f'{server.unanswered} questions were not answered within {grace:g} seconds of the signal.'
        if not service.is_working:
            raise UserError(fault)
        print(f'error: {fault}', file=sys.stderr)
    if service.is_working:
        sys.stderr.flush()
        os._exit(1 if server.unanswered else 0)  # a thread inside torch cannot be ended, and Python would abort with it
