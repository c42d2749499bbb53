"""POST /v1/chat/completions as OpenAI's clients use it, with masks in the field ``lisa``; and GET /v1/models."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, StreamingResponse

from ..apis.answers import Answer
from ..apis.preparing import Prepared
from ..apis.requests import Request
from ..datasets.prompts import request_mask
from ..errors import UserError
from .examples import CHAT, describe_body
from .limits import Hold, RequestError
from .schemas import ChatRequest, Message, Options, check, merged
from .service import Service

logger = logging.getLogger('lisa_mm.serving')


def openai_routes(service: Service) -> APIRouter:
    """The addresses for a service."""
    routes = APIRouter(tags=["OpenAI's interface"])
    name = service.settings.name
    card = {'id': name, 'object': 'model', 'created': int(time.time()), 'owned_by': 'lisa_mm'}

    @routes.get('/v1/models', summary='The model')
    async def models() -> dict[str, Any]:
        return {'object': 'list', 'data': [card]}

    @routes.get('/v1/models/{model}', summary='The model by its name')
    async def model_card(model: str) -> dict[str, Any]:
        _check_name(model, name)
        return card

    @routes.post(
        '/v1/chat/completions', openapi_extra=describe_body(ChatRequest, {**CHAT, 'model': name}), summary='Talk about an image'
    )
    async def chat(http: HttpRequest) -> Any:
        """The first message holds the image; earlier questions and answers are the history.

        Masks, boxes and scores are in the field `lisa` of the answer's message; with `stream`, in that of the last chunk.
        """
        held: Hold = http.state.held
        asked = check(ChatRequest, await http.body())
        _check_name(asked.model, name)
        image, request = read_messages(asked, service.settings.limits.new_tokens)
        prepared = await service.prepare(image, [request], held)
        head = {'id': f'chatcmpl-{uuid.uuid4().hex}', 'created': int(time.time()), 'model': name}
        if asked.stream:
            pieces = _stream(service, asked, prepared[0], held, head)
            # nginx would keep the pieces back
            return StreamingResponse(pieces, media_type='text/event-stream', headers={'X-Accel-Buffering': 'no'})
        answers = await service.answer(prepared, held, http)
        found = await service.describe(answers, asked.lisa.masks, asked.lisa.overlay, held)
        message = {'role': 'assistant', 'content': answers[0].text, 'refusal': None, 'lisa': found[0]}
        choice = {'index': 0, 'message': message, 'finish_reason': _reason(answers[0]), 'logprobs': None}
        return JSONResponse({**head, 'object': 'chat.completion', 'choices': [choice], 'usage': _usage(prepared[0], answers[0])})

    return routes


def read_messages(asked: ChatRequest, most_tokens: int) -> tuple[str, Request]:
    """The image of a conversation, and its last question with what came before.

    Raises:
        RequestError: 400 unless the first message holds the only image, and questions and answers take turns.
    """
    messages = asked.messages
    for number, message in enumerate(messages):
        _check_message(number, message)
    if len(messages) % 2 == 0:
        raise _fault('messages: the last one is an answer. End with a question.')
    texts = [message.text for message in messages]
    if not asked.lisa.raw:  # as they were asked before
        texts[::2] = [request_mask(text) if text.strip() else text for text in texts[::2]]
    history = list(zip(texts[:-1:2], texts[1::2], strict=True))
    given = asked.model_dump(include={'temperature', 'top_p', 'seed'}, exclude_none=True)
    given |= asked.lisa.model_dump(include={'force_seg', 'no_text', 'top_k'})
    limits = {asked.max_tokens, asked.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise _fault('max_tokens and max_completion_tokens differ. Give one of them.')
    if limits:
        given['max_new_tokens'] = limits.pop()
    options = merged(Options(**given), allowed=most_tokens)
    return messages[0].images[0], Request('', messages[-1].text, history, asked.lisa.raw, options)


def _check_message(number: int, message: Message) -> None:
    if message.role not in ('user', 'assistant'):
        raise _fault(
            f'messages.{number}: the role {message.role!r} is not taken: the model has its own system text and no tools. '
            'Leave the message out.'
        )
    wanted = ('user', 'assistant')[number % 2]
    if message.role != wanted:
        raise _fault(f'messages.{number}: its role is {message.role!r}, expected {wanted!r}: questions and answers take turns.')
    if number == 0 and len(message.images) != 1:
        raise _fault(f'messages.0 holds {len(message.images)} images; give one, as a part of type image_url.')
    if number and message.images:
        raise _fault(f'messages.{number} holds an image; only the first message does. Begin a conversation for another image.')


def _fault(message: str) -> RequestError:
    return RequestError(400, message, 'invalid_request')


def _check_name(given: str, name: str) -> None:
    if given != name:
        raise RequestError(404, f'the model {given!r} is not here; this server has {name!r}.', 'model_not_found')


def _reason(answer: Answer) -> str:
    return 'length' if answer.cut else 'stop'


def _usage(prepared: Prepared, answer: Answer) -> dict[str, int]:
    prompt = len(prepared.ids)
    return {
        'prompt_tokens': prompt,
        'completion_tokens': answer.new_tokens,
        'total_tokens': prompt + answer.new_tokens,
    }


async def _stream(
    service: Service, asked: ChatRequest, prepared: Prepared, held: Hold, head: dict[str, Any]
) -> AsyncIterator[str]:
    """Server-sent events: chunks, and an error in place of the rest if there is one."""

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        return chunk([{'index': 0, 'delta': delta, 'finish_reason': reason, 'logprobs': None}])

    def chunk(choices: Sequence[dict[str, Any]], **more: object) -> str:
        return _event({**head, 'object': 'chat.completion.chunk', 'choices': choices, **more})

    try:
        yield event({'role': 'assistant', 'content': ''})
        async for item in service.stream(prepared, held):
            if isinstance(item, str):
                yield event({'content': item})
                continue
            found = await service.describe([item], asked.lisa.masks, asked.lisa.overlay, held)
            yield event({'lisa': found[0]}, _reason(item))
            if asked.stream_options is not None and asked.stream_options.include_usage:
                yield chunk([], usage=_usage(prepared, item))
        yield 'data: [DONE]\n\n'
    except RequestError as error:
        yield _event(error.body)
    except UserError as error:
        yield _event(_fault(str(error)).body)
    except Exception:  # the status is sent already
        logger.exception('an answer failed')
        yield _event(RequestError(500, 'the server failed at this answer; its log says why.', 'failed').body)


def _event(value: dict[str, Any]) -> str:
    return f'data: {json.dumps(value)}\n\n'
