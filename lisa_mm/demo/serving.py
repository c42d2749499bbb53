"""The web server that shows the page."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..apis.inferencer import LISAInferencer
from ..apis.loading import prepare_model, resolve
from ..errors import DataError, UserError
from .answering import Model
from .limits import MEGABYTE, Limits
from .packing import pack
from .page import FOLDER, Page, read_examples

# what the page may load: from this server alone. Gradio compiles templates, hence unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
NO_LONGER = 'These masks are no longer on the server. Ask again.'


class Headers:
    """Adds security headers to all answers."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers['content-security-policy'] = POLICY
                headers['x-content-type-options'] = 'nosniff'
                headers['referrer-policy'] = 'same-origin'
            await send(message)

        await self.app(scope, receive, with_headers)


def build_app(page: Page) -> FastAPI:
    """The page and the downloads of its masks as one application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Headers)

    @app.get('/download/{key}/{number}')
    def download(key: str, number: int, threshold: float = 0.5) -> Response:
        visit = page.visits.get(key)
        if visit is None or not 0 <= number < len(visit.talks):
            return Response(NO_LONGER, 404, media_type='text/plain')
        name = page.models[number].name
        try:
            content = pack(visit.talks[number], name, threshold)
        except DataError as error:
            return Response(str(error), 400, media_type='text/plain')
        file = re.sub(r'[^A-Za-z0-9_.-]+', '_', name)
        headers = {'content-disposition': f'attachment; filename="{file}_masks.zip"', 'cache-control': 'no-store'}
        return Response(content, media_type='application/zip', headers=headers)

    # system fonts, and colours whose contrast is at least 4.5:1
    theme = gr.themes.Base(
        primary_hue='blue', neutral_hue='slate', font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
    ).set(
        button_primary_background_fill='*primary_700',
        button_primary_background_fill_hover='*primary_800',
        button_primary_background_fill_dark='*primary_700',
        button_primary_background_fill_hover_dark='*primary_800',
        button_primary_text_color='white',
        body_text_color_subdued='*neutral_600',
        body_text_color_subdued_dark='*neutral_300',
        block_info_text_color='*neutral_600',
        block_info_text_color_dark='*neutral_300',
        input_placeholder_color='*neutral_500',
        input_placeholder_color_dark='*neutral_400',
        checkbox_background_color_selected='*primary_700',
        checkbox_border_color='*neutral_500',
        input_border_color='*neutral_400',
    )
    return gr.mount_gradio_app(
        app,
        page.blocks,
        '/',
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(page.limits.upload_mb * MEGABYTE),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        # as css= Gradio would rewrite it, and lose its container queries
        head=f'<style>{(FOLDER / "page.css").read_text(encoding="utf-8")}</style>',
    )


def load_models(targets: Sequence[str | Path], *, device: str | None = None, dtype: str = 'float32') -> list[Model]:
    """The models of a page; each target is checked before weights are read.

    Args:
        targets: Work folders or exported folders.
        device, dtype: As in :class:`lisa_mm.apis.inferencer.LISAInferencer`.

    Raises:
        UserError: for the first target that is no model.
    """
    ready = [prepare_model(*resolve(target), device=device, dtype=dtype) for target in targets]
    names = short_names(targets)
    return [Model(name, LISAInferencer(one, remember=4, show_progress=False)) for name, one in zip(names, ready, strict=True)]


def short_names(targets: Sequence[str | Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart; equal paths are numbered.

    >>> short_names(['runs/a/best', 'runs/b/best'])
    ['a/best', 'b/best']
    >>> short_names(['lisa_nano', 'lisa_nano'])
    ['lisa_nano (1)', 'lisa_nano (2)']
    """
    paths = [Path(target) for target in targets]
    different = len(set(paths))
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ['/'.join(path.parts[-length:]) for path in paths]
        if len(set(names)) == different:
            break
    else:
        names = [str(path) for path in paths]
    return [f'{name} ({names[:n].count(name) + 1})' if names.count(name) > 1 else name for n, name in enumerate(names)]


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        UserError: if the port is taken or not allowed, or the host is none of this machine's.
    """
    if not 0 <= port < 2**16:
        raise UserError(f'port {port} does not exist; give one from 1024 to 65535, or 0 for a free one.')
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f'cannot listen on {host}, port {port} ({error}). Give another port, e.g. --port 0 for a free one, or another host: '
            '127.0.0.1 for this machine alone, 0.0.0.0 for all networks.'
        ) from error


def serve(
    targets: Sequence[str | Path],
    *,
    host: str = '127.0.0.1',
    port: int = 7860,
    limits: Limits | None = None,
    device: str | None = None,
    dtype: str = 'float32',
) -> None:
    """Serve a page until Ctrl-C or SIGTERM.

    Args:
        targets: Work folders or exported folders.
        host: The address to listen on: '127.0.0.1' is seen from this machine alone, '0.0.0.0' from all networks.
        port: The port; 0 takes a free one.
        limits: Limits of the server.
        device, dtype: As in :class:`lisa_mm.apis.inferencer.LISAInferencer`.
    """
    with open_socket(host, port) as listening, tempfile.TemporaryDirectory(prefix='lisa_mm_demo_') as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder  # uploads, which go with the server
        os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
        models = load_models(targets, device=device, dtype=dtype)
        examples = read_examples(resolve(targets[0])[1])
        app = build_app(Page(models, limits or Limits(), examples))
        # uvicorn raises the signal again when it has ended; this lets the folder be removed first
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=3)
        address = f'[{host}]' if ':' in host else host
        print(f'{", ".join(model.name for model in models)}: http://{address}:{listening.getsockname()[1]}', flush=True)
        uvicorn.Server(config).run(sockets=[listening])
