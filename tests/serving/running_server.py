"""A real server on a free port, and what its tests send."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image

from lisa_mm.apis.answers import Answer
from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.preparing import Prepared
from lisa_mm.apis.watching import Listeners
from lisa_mm.serving.limits import Limits
from lisa_mm.serving.running import Server
from lisa_mm.serving.service import Service, Settings


@dataclass
class Running:
    """A server that answers.

    Args:
        address: Its address.
        service: Its service.
        server: What runs it.
        thread: The thread in which it runs.
    """

    address: str
    service: Service
    server: Server
    thread: threading.Thread

    def client(self, **more) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, **more)

    def ask(self, body: dict, **more) -> httpx.Response:
        with self.client() as client:
            return client.post('/v1/segment', json=body, **more)

    def chat(self, **body) -> httpx.Response:
        with self.client() as client:
            return client.post('/v1/chat/completions', json={'model': 'tiny', **body})


class Started(Server):
    """Says when it listens, and where."""

    def __init__(self, service, **more):
        super().__init__(service, port=0, log_level='warning', **more)
        self.listens, self.port = threading.Event(), 0

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.port = self.servers[0].sockets[0].getsockname()[1]
        self.listens.set()


@contextmanager
def served(
    inferencer, *, wait_ready: bool = True, grace: float = 30, limits: dict | None = None, **settings
) -> Iterator[Running]:
    """Serve an inferencer, or what a function gives, until the end of the ``with``."""
    load = inferencer if callable(inferencer) and not hasattr(inferencer, 'forward') else lambda: inferencer
    service = Service(load, Settings(**{'name': 'tiny', 'limits': Limits(**(limits or {})), **settings}))
    server = Started(service, grace=grace)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.listens.wait(30)
    running = Running(f'http://127.0.0.1:{server.port}', service, server, thread)
    if wait_ready:
        service._loader.join()
    try:
        yield running
    finally:
        server.handle_exit(15, None)
        thread.join(30)
        assert not thread.is_alive()


class Slow:
    """An inferencer that waits before each token until it may go on.

    Args:
        inferencer: What answers.
    """

    def __init__(self, inferencer: LISAInferencer):
        self.inner = inferencer
        self.load, self.preparer = inferencer.load, inferencer.preparer
        self.may_go = threading.Event()
        self.speaks = threading.Event()
        self.cancelled: list[Sequence[bool]] = []
        self.batches: list[int] = []

    def forward(self, batch: Sequence[Prepared], *, listeners: Listeners) -> list[Answer]:
        self.batches.append(len(batch))
        asked = listeners.is_cancelled
        assert asked is not None

        def is_cancelled(row: int) -> bool:
            self.speaks.set()
            while not self.may_go.wait(0.01):
                if asked(row):  # as a token would find it
                    return True
            return asked(row)

        answers = self.inner.forward(batch, listeners=Listeners(listeners.text, listeners.mask, is_cancelled))
        self.cancelled.append([asked(row) for row in range(len(batch))])
        return answers


def picture(number: int = 0, height: int = 40, width: int = 60) -> np.ndarray:
    """Noise (height, width, 3), another for each number."""
    return np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)


def png_bytes(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()


def base64_of(pixels: np.ndarray) -> str:
    return base64.b64encode(png_bytes(pixels)).decode()


def data_uri(pixels: np.ndarray) -> str:
    return f'data:image/png;base64,{base64_of(pixels)}'


def user(text: str, image: str | None = None) -> dict:
    """A message."""
    if image is None:
        return {'role': 'user', 'content': text}
    parts = [{'type': 'text', 'text': text}, {'type': 'image_url', 'image_url': {'url': image}}]
    return {'role': 'user', 'content': parts}


def events(text: str) -> list:
    """The values of server-sent events; the last is the text [DONE] if the answer came to its end."""
    lines = [line.removeprefix('data: ') for line in text.split('\n\n') if line]
    return [line if line == '[DONE]' else json.loads(line) for line in lines]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process does."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, 'it does not come'
        time.sleep(0.01)
