"""POST /v1/segment: questions about an image, and their masks."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.datastructures import FormData, UploadFile

from ..apis.requests import Request
from .examples import MASKS, describe_body
from .limits import Hold, RequestError
from .schemas import SegmentRequest, check, merged
from .service import Service

FORM: dict[str, Any] = {
    'type': 'object',
    'required': ['image', 'question'],
    'properties': {
        'image': {'type': 'string', 'format': 'binary', 'description': 'the image file'},
        'question': {'type': 'array', 'items': {'type': 'string'}, 'description': 'once for each question'},
        'options': {'type': 'string', 'description': 'as in JSON'},
        'masks': {'type': 'string', 'enum': ['rle', 'polygons', 'png']},
        'overlay': {'type': 'string', 'enum': ['true', 'false']},
    },
}
_FIELDS = set(FORM['properties'])


def segment_routes(service: Service) -> APIRouter:
    """The address for a service."""
    routes = APIRouter(tags=['questions'])

    @routes.post('/v1/segment', openapi_extra=describe_body(SegmentRequest, MASKS, FORM), summary='Ask questions about an image')
    async def segment(http: HttpRequest) -> dict[str, Any]:
        """Each question is answered on its own; the image is read once.

        Answers stand in the order of the questions. Each has the `text`, the question as it was `asked`, and a mask for each
        `[SEG]` of the text, with its box, its score (mean probability in the mask), the logit of its `[SEG]` and its area.
        """
        held: Hold = http.state.held
        asked, image = await _read(http)
        count, allowed = len(asked.questions), service.settings.limits.questions
        if count > allowed:
            raise RequestError(400, f'{count} questions; at most {allowed} are answered in a request.', 'too_many_questions')
        held.need(count)
        most = service.settings.limits.new_tokens
        requests = [
            Request(
                '',
                one.question,
                [(question, answer) for question, answer in one.history],
                one.raw,
                merged(asked.options, one.options, allowed=most),
            )
            for one in asked.questions
        ]
        prepared = await service.prepare(image, requests, held)
        answers = await service.answer(prepared, held, http)
        found = await service.describe(answers, asked.masks, asked.overlay, held)
        return {'model': service.settings.name, 'answers': found}

    return routes


async def _read(http: HttpRequest) -> tuple[SegmentRequest, str | bytes]:
    """A request of either form, and its image."""
    kind = http.headers.get('content-type', '').partition(';')[0].strip().lower()
    if kind == 'application/json':
        asked = check(SegmentRequest, await http.body())
        return asked, asked.image
    if kind == 'multipart/form-data':
        async with http.form(max_files=1, max_fields=100) as form:
            return await _read_form(form)
    raise RequestError(
        415, f'the content type is {kind or "missing"!r}; send application/json or multipart/form-data.', 'unknown_content_type'
    )


async def _read_form(form: FormData) -> tuple[SegmentRequest, bytes]:
    unknown = set(form) - _FIELDS
    if unknown:
        raise RequestError(
            400, f'unknown fields: {", ".join(sorted(unknown))}. Known: {", ".join(sorted(_FIELDS))}.', 'invalid_request'
        )
    image = form.get('image')
    if not isinstance(image, UploadFile):
        raise RequestError(400, 'the field image holds no file. With curl: -F image=@street.jpg', 'invalid_request')
    fields: dict[str, Any] = {'image': '', 'questions': form.getlist('question')}
    if 'masks' in form:
        fields['masks'] = form['masks']
    for name in ('options', 'overlay'):
        if name in form:
            try:
                fields[name] = json.loads(str(form[name]))
            except ValueError as error:
                raise RequestError(400, f'{name}: {form[name]!r} is no JSON ({error}).', 'invalid_request') from error
    return check(SegmentRequest, fields), await image.read()
