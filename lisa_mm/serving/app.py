"""The app: addresses, errors and the page /docs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from .. import __version__
from ..errors import UserError
from .examples import schemas
from .gate import Gate, refusal
from .limits import RequestError
from .openai_api import openai_routes
from .segment import segment_routes
from .service import Service

ABOUT = (
    'Ask an image a question in words; get an answer whose `[SEG]` tokens are masks. An error has the shape '
    '`{"error": {"message": ..., "type": ..., "code": ...}}`.'
)


def create_app(service: Service) -> FastAPI:
    """The app of a service, which it closes at its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title='lisa_mm', version=__version__, description=ABOUT, lifespan=lifespan, redoc_url=None)
    app.add_middleware(Gate, service=service)
    # the gate checks the key; this gives /docs its button for it
    keyed = [Depends(HTTPBearer(auto_error=False))] if service.settings.key is not None else []
    app.include_router(segment_routes(service), dependencies=keyed)
    app.include_router(openai_routes(service), dependencies=keyed)

    @app.get('/health', tags=['operation'], summary='Whether questions are taken', responses={503: {}})
    async def health() -> JSONResponse:
        """200 if they are; 503 while the model is loading or the server is shutting down."""
        return JSONResponse({'status': service.state}, 200 if service.state == 'ready' else 503)

    @app.get('/metrics', tags=['operation'], summary='Numbers for Prometheus', dependencies=keyed)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get('/', include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse('/docs')

    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(UserError, _faulty)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    _add_schemas(app)
    return app


async def _refused(http: HttpRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return refusal(error)


async def _faulty(http: HttpRequest, error: Exception) -> JSONResponse:
    return refusal(RequestError(400, str(error), 'invalid_request'))


async def _http_error(http: HttpRequest, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f'{http.method} {http.url.path}: {error.detail}. /docs lists the addresses.'
    return refusal(RequestError(error.status_code, message, 'invalid_request', error.headers))


async def _failed(http: HttpRequest, error: Exception) -> JSONResponse:
    return refusal(RequestError(500, 'the server failed at this request; its log says why.', 'failed'))


def _add_schemas(app: FastAPI) -> None:
    """Add the schemas of bodies that the app reads itself."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        found = plain()
        found.setdefault('components', {}).setdefault('schemas', {}).update(schemas())
        return found

    app.openapi = openapi
