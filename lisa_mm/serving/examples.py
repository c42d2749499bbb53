"""What the page /docs shows: the fields of a request, with examples that can be sent from there."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .replies import png
from .schemas import ChatRequest, SegmentRequest


def disc() -> str:
    """A red disc on grey, 64 x 64 pixels, as a PNG in base64."""
    image = Image.new('RGB', (64, 64), (190, 190, 190))
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=(210, 40, 40))
    return png(np.asarray(image))


DISC = disc()
MASKS: dict[str, Any] = {
    'image': DISC,
    'questions': ['the disc', {'question': 'What could roll away?', 'options': {'force_seg': True}}],
}
CHAT: dict[str, Any] = {
    'model': 'lisa_nano',
    'messages': [
        {
            'role': 'user',
            'content': [
                {'type': 'text', 'text': 'the disc'},
                {'type': 'image_url', 'image_url': {'url': f'data:image/png;base64,{DISC}'}},
            ],
        }
    ],
}
_PLACES = '#/components/schemas/{model}'


def describe_body(model: type[BaseModel], example: dict[str, Any], form: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request for OpenAPI.

    Args:
        model: The schema of its JSON.
        example: A request.
        form: The schema of a form that is taken too.
    """
    content: dict[str, Any] = {'application/json': {'schema': {'$ref': _PLACES.format(model=model.__name__)}, 'example': example}}
    if form is not None:
        content['multipart/form-data'] = {'schema': form}
    return {'requestBody': {'required': True, 'content': content}}


def schemas() -> dict[str, Any]:
    """The schemas that the bodies name."""
    _, found = models_json_schema([(SegmentRequest, 'validation'), (ChatRequest, 'validation')], ref_template=_PLACES)
    return found['$defs']
