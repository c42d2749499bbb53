"""A server of the demo, and a browser that visits it. Run by make test-browser; plain pytest leaves this folder out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.shipped import find_model
from lisa_mm.demo.answering import Model
from lisa_mm.demo.limits import Limits
from lisa_mm.demo.page import Page as DemoPage
from lisa_mm.demo.page import read_examples
from lisa_mm.demo.serving import build_app, load_models, open_socket
from tests.demo.building import in_loop

NANO = find_model('lisa_nano')
EXAMPLE = NANO / 'example.jpg'
DESKTOP, PHONE = (1280, 800), (390, 844)
LIMITS = Limits(upload_mb=1, megapixels=2, queue=1, max_new_tokens=16)
FLAGS = (
    '--no-sandbox',
    '--headless',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
# Gradio's image asks for a clipboard that headless browsers lack
HARMLESS = ('Method not implemented.',)
REFUSED = 'status of 503'


class Held:
    """An inferencer whose stream waits after its first word until it is let go."""

    def __init__(self, inferencer: LISAInferencer):
        self.inferencer = inferencer
        self.go, self.ended = threading.Event(), threading.Event()
        self.is_held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inferencer, name)

    def stream(self, *args: Any, **how: Any) -> Iterator[Any]:
        """As the inferencer's."""
        try:
            for number, item in enumerate(self.inferencer.stream(*args, **how)):
                yield item
                while self.is_held and not number and not self.go.wait(0.05):
                    yield ''  # as a model that goes on with nothing to say, where it can be closed
        finally:
            self.ended.set()

    def hold(self) -> None:
        """Hold the next answer."""
        self.is_held = True
        self.go.clear()
        self.ended.clear()

    def release(self) -> None:
        """Let all answers go on."""
        self.is_held = False
        self.go.set()


@dataclass
class Demo:
    """A server.

    Args:
        address: Of its page.
        inferencer: Of its first model.
        held: The same, as the page has it.
        page: What is served.
    """

    address: str
    inferencer: LISAInferencer
    held: Held
    page: DemoPage


def serve_in_thread(page: DemoPage) -> tuple[uvicorn.Server, threading.Thread, str]:
    """Start a server and return it with its address when it listens."""
    listening = open_socket('127.0.0.1', 0)
    server = uvicorn.Server(uvicorn.Config(in_loop(lambda: build_app(page)), log_level='warning', timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listening]})
    thread.start()
    return server, thread, f'http://127.0.0.1:{listening.getsockname()[1]}'


@pytest.fixture(scope='session')
def inferencer() -> LISAInferencer:
    """The shipped model."""
    (model,) = load_models([NANO], device='cpu')
    return model.inferencer


@pytest.fixture(scope='session')
def start(inferencer: LISAInferencer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Demo]]:
    """Start a server of a number of models."""
    os.environ['GRADIO_TEMP_DIR'] = str(tmp_path_factory.mktemp('uploads'))
    running = []

    def one(number: int) -> Demo:
        held = Held(inferencer)
        models = [Model('lisa_nano', held), *[Model(f'model {n}', inferencer) for n in range(2, number + 1)]]
        page = in_loop(lambda: DemoPage(models, LIMITS, read_examples(NANO)))
        server, thread, address = serve_in_thread(page)
        running.append((server, thread))
        return Demo(address, inferencer, held, page)

    yield one
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope='session')
def demo(start: Callable[[int], Demo]) -> Demo:
    """A page of one model."""
    return start(1)


@pytest.fixture(scope='session')
def two(start: Callable[[int], Demo]) -> Demo:
    """A page of two models."""
    return start(2)


@pytest.fixture(scope='session')
def browser() -> Iterator[Browser]:
    """Debian's chromium, or what CHROMIUM names."""
    path = Path(os.environ.get('CHROMIUM', '/usr/bin/chromium'))
    assert path.exists(), f'{path} is missing: run make test-browser, which installs it'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page as a new visitor; at the end it must have written no error and asked no other host.

    With ``refused`` the server may have refused a question.
    """
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(demo: Demo, size: tuple[int, int] = DESKTOP, *, refused: bool = False) -> Page:
        context = browser.new_context(viewport={'width': size[0], 'height': size[1]}, accept_downloads=True)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()

        def look(request: Request) -> None:
            if not request.url.startswith((demo.address, 'data:', 'blob:' + demo.address)):
                faults.append(f'foreign request: {request.url}')

        def listen(message: ConsoleMessage) -> None:
            is_harmless = message.text in HARMLESS or (refused and REFUSED in message.text)
            if message.type in ('error', 'warning') and not is_harmless:
                faults.append(f'{message.type} in the console: {message.text} {message.location}')

        page.on('request', look)
        page.on('console', listen)
        page.on('pageerror', lambda error: faults.append(f'error of the page: {error}'))
        page.goto(demo.address)
        page.get_by_label('Question').wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
