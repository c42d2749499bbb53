"""What clients send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..models.decoding import AnswerOptions
from .limits import RequestError

Text = Annotated[str, Field(max_length=20_000)]
Turn = Annotated[list[Text], Field(min_length=2, max_length=2)]
MaskFormat = Literal['rle', 'polygons', 'png']
Checked = TypeVar('Checked', bound='Strict')


class Strict(BaseModel):
    """A part of a request, whose unknown fields are faults."""

    model_config = ConfigDict(extra='forbid', strict=True)


class Options(Strict):
    """How a question is answered (:class:`lisa_mm.models.decoding.AnswerOptions`)."""

    max_new_tokens: int = Field(default=64, ge=1, description='tokens of the answer, at most')
    force_seg: bool = Field(default=False, description='the answer holds a [SEG]')
    no_text: bool = Field(default=False, description='the answer is [SEG] alone')
    temperature: float = Field(default=0.0, ge=0, le=100, description='0 takes the likeliest token; above 0, tokens are drawn')
    top_p: float = Field(default=1.0, gt=0, le=1, description='draw from the likeliest tokens whose probabilities add up to this')
    top_k: int = Field(default=0, ge=0, description='draw from this many of the likeliest tokens; 0 takes all')
    seed: int = Field(default=0, ge=0, lt=2**63, description='seed of the draws')


class Question(Strict):
    """A question about the image; a text alone is one too."""

    question: Text
    history: list[Turn] = Field(default=[], max_length=64, description='earlier [asked, text] of answers about this image')
    raw: bool = Field(
        default=False, description='ask as it is written; otherwise phrases are put into the words the model was trained with'
    )
    options: Options = Field(default=Options(), description='those that differ from the options of the request')


def _as_question(value: Any) -> Any:
    return {'question': value} if isinstance(value, str) else value


class SegmentRequest(Strict):
    """Questions about one image."""

    image: str = Field(description='base64 of an image file, or a data URI; an address if the server allows it')
    questions: list[Annotated[Question, BeforeValidator(_as_question, json_schema_input_type=str | Question)]] = Field(
        min_length=1
    )
    options: Options = Field(default=Options(), description='those of all questions')
    masks: MaskFormat = Field(default='rle', description="COCO's run lengths, outlines, or a PNG (0 and 255) in base64")
    overlay: bool = Field(default=False, description='add the image with its masks, as a data URI of a PNG')


class ImageUrl(Strict):
    """The image of a message."""

    url: str = Field(description='a data URI; an address if the server allows it')
    detail: Literal['auto'] = 'auto'


class TextPart(Strict):
    """Text of a message."""

    type: Literal['text']
    text: Text


class ImagePart(Strict):
    """The image of the first message."""

    type: Literal['image_url']
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator='type')]


def _as_parts(value: Any) -> Any:
    return [{'type': 'text', 'text': value}] if isinstance(value, str) else value


class Message(BaseModel):
    """A message; an answer that is sent back may keep its further fields."""

    model_config = ConfigDict(extra='ignore', strict=True)

    role: Literal['user', 'assistant', 'system', 'developer', 'tool']
    content: Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]

    @property
    def text(self) -> str:
        """Its texts, one a line."""
        return '\n'.join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> list[str]:
        """Its images, as they were given."""
        return [part.image_url.url for part in self.content if isinstance(part, ImagePart)]


class StreamOptions(Strict):
    """What a streamed answer holds."""

    include_usage: bool = False


class LisaFields(Strict):
    """What OpenAI's interface has no field for."""

    raw: bool = Field(default=False, description=Question.model_fields['raw'].description)
    force_seg: bool = Field(default=False, description=Options.model_fields['force_seg'].description)
    no_text: bool = Field(default=False, description=Options.model_fields['no_text'].description)
    top_k: int = Field(default=0, ge=0, description=Options.model_fields['top_k'].description)
    masks: MaskFormat = Field(default='rle', description=SegmentRequest.model_fields['masks'].description)
    overlay: bool = Field(default=False, description=SegmentRequest.model_fields['overlay'].description)


class ChatRequest(Strict):
    """A conversation about an image, as OpenAI's clients send it."""

    model: str = Field(description='a name that GET /v1/models lists')
    messages: list[Message] = Field(min_length=1, max_length=128)
    max_tokens: int | None = Field(default=None, ge=1, description='tokens of the answer, at most; 64 by default')
    max_completion_tokens: int | None = Field(default=None, ge=1, description='the same')
    temperature: float | None = Field(default=None, ge=0, le=100, description='0 by default: the likeliest token')
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63, description='0 by default')
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    lisa: LisaFields = Field(default=LisaFields(), description="fields of lisa_mm's own")


def merged(*given: Options, allowed: int) -> AnswerOptions:
    """The options of a question, of which the later ones go before the earlier ones.

    Raises:
        RequestError: 400 for more tokens than are allowed.
    """
    fields: dict[str, Any] = {}
    for options in given:
        fields |= options.model_dump(exclude_unset=True)
    found = AnswerOptions(**fields)
    if found.max_new_tokens > allowed:
        raise RequestError(
            400,
            f'max_new_tokens is {found.max_new_tokens}; this server gives at most {allowed}. Ask for fewer.',
            'too_many_tokens',
        )
    return found


def check(model: type[Checked], content: bytes | dict[str, Any]) -> Checked:
    """A request as its schema says.

    Args:
        model: The schema.
        content: JSON, or its value.

    Raises:
        RequestError: 400 with all faults.
    """
    try:
        if isinstance(content, bytes):
            return model.model_validate_json(content)
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            _fault(fault['loc'], fault['msg'], None if fault['type'] == 'missing' else fault['input']) for fault in error.errors()
        ]
        raise RequestError(400, '; '.join(faults[:10]) + '. /docs describes the fields.', 'invalid_request') from error


def _fault(place: Sequence[int | str], message: str, given: object) -> str:
    # a fault of JSON itself has no place, and its input is the whole request
    where = '.'.join(map(str, place)) or 'the request'
    shown = repr(given)
    what = f' (given: {shown})' if place and given is not None and len(shown) <= 80 else ''
    return f'{where}: {message}{what}'
