"""Declared formats of records: which fields are read, harmless or refused, and what each must hold.

A format is a TypedDict under :func:`strict`. Its annotations are the rules and, through :func:`fields_of`, the documentation.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError, with_config
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema
from typing_extensions import NotRequired, get_type_hints, is_typeddict

from ..errors import DataError

FARTHEST = 1e6  # pixels; no image has a longer side
FAULTS_SHOWN = 6  # of one record
SHOWN = 60  # characters of a value

T = TypeVar('T')
strict = with_config(ConfigDict(strict=True, extra='forbid'))

# pydantic's kind of error -> what is needed
NEEDED = {
    'string_type': 'a text is needed',
    'bool_type': 'true or false is needed, without quotes',
    'int_type': 'a whole number is needed',
    'int_from_float': 'a whole number is needed',
    'float_type': 'a number is needed',
    'float_parsing': 'a number is needed',
    'finite_number': 'a finite number is needed',
    'list_type': 'a list is needed',
    'dict_type': 'an object is needed',
}


@dataclass(frozen=True)
class Reads:
    """Marks a field that is read, and says what it means."""

    text: str


@dataclass(frozen=True)
class Harmless:
    """Marks a known field that is not read because it changes neither image nor text nor mask."""

    text: str


@dataclass(frozen=True)
class Refuses:
    """Marks a known field whose meaning is not supported: any value but null and the allowed ones is a fault."""

    text: str
    allowed: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def check(self, value: object) -> object:
        """The value, if it changes nothing."""
        if value is not None and not any(value == other and type(value) is type(other) for other in self.allowed):
            raise fault(f'it is {shortly(value)}, which is not supported: {self.text}')
        return value


def fault(message: str) -> PydanticCustomError:
    """The fault that a rule of a format raises; a sentence about "it", without a full stop."""
    return PydanticCustomError('fault', '{message}', {'message': message})


def shortly(value: object) -> str:
    """The beginning of a value, as an error shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}...'


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise fault('it holds half of a surrogate pair (\\ud800 to \\udfff), which is no character; write it again') from None
    return text


def _written(text: str) -> str:
    _encodable(text)
    if not text.strip():
        raise fault('it is empty; write it or delete the record')
    if '\0' in text:
        raise fault('it holds a zero character; write it again')
    return text


def _identity(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise fault(f'it is {shortly(value)}; a whole number or a text is needed')
    return _encodable(value) if isinstance(value, str) else value


Plain = Annotated[str, AfterValidator(_encodable)]
Text = Annotated[str, AfterValidator(_written)]
Number = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Side = Annotated[int, Field(ge=1, le=int(FARTHEST))]
Id = Annotated[Any, AfterValidator(_identity)]


class Format(Generic[T]):
    """Reads records of a declared form.

    Args:
        schema: A TypedDict under :func:`strict`, alone or annotated with rules.
        name: What a record is called in notes: 'row', 'annotation'.
    """

    def __init__(self, schema: Any, name: str):
        self.schema = schema
        self.name = name
        self.adapter: TypeAdapter[T] = TypeAdapter(schema)
        self.known = {field.name for field in fields_of(schema)}

    def read(self, record: object, file: Path, where: str = '', notes: Counter[str] | None = None) -> T:
        """The record itself, unchanged, if it has this form.

        Args:
            record: What a json, pickle or csv holds.
            file: The file, for errors.
            where: The record in the file, for errors; nothing if the file is the record.
            notes: Counts unknown fields.

        Raises:
            DataError: with all faults of the record.
        """
        errors = self._errors(record, extra='forbid')
        if errors:
            unknown = [entry for entry in errors if entry['type'] == 'extra_forbidden']
            # rules about a whole object run only once its fields are right, so unknown ones must be out of the way
            wrong = self._errors(record, extra='ignore') if unknown else errors
            faults = [text for entry in unknown if (text := self._misspelt(entry, record, notes))] + list(map(sentence, wrong))
            if faults:
                rest = len(faults) - FAULTS_SHOWN
                shown = '; '.join(faults[:FAULTS_SHOWN]) + (f'; and {rest} more faults' if rest > 0 else '')
                place = f'{file}: {where}: ' if where else f'{file}: '
                raise DataError(f'{place}{shown}.', file=file, record=where or faults[0].split()[0])
        return record  # type: ignore[return-value] - pydantic is strict: it has this type without conversion

    def _errors(self, record: object, extra: Literal['forbid', 'ignore']) -> list[ErrorDetails]:
        try:
            self.adapter.validate_python(record, strict=True, extra=extra)
        except ValidationError as error:
            return error.errors(include_url=False)
        return []

    def _misspelt(self, entry: ErrorDetails, record: object, notes: Counter[str] | None) -> str | None:
        """The fault of an unknown field; None, and a note, if it is somebody's own remark."""
        path = [step for step in entry['loc'] if not is_tag(step)]
        holder = follow(record, path[:-1])
        meant = difflib.get_close_matches(str(path[-1]), sorted(self.known - set(holder)), n=1, cutoff=0.85)
        if meant:
            return f'{written(path)} is no known field, and {meant[0]!r} is missing: rename it or take it out'
        if notes is not None:
            notes[f'{self.name}: the unknown field {path[-1]!r} is not read'] += 1
        return None


def is_tag(step: int | str) -> bool:
    """Whether a step of pydantic's path names a kind of value and no field; kinds are written as ``<polygon>``."""
    return isinstance(step, str) and step.startswith('<')


def follow(value: Any, path: Iterable[int | str]) -> Any:
    """The value at a path."""
    for step in path:
        value = value[step]
    return value


def written(path: Iterable[int | str]) -> str:
    """A path as Python would write it.

    >>> written(['shapes', 0, 'points', 2])
    'shapes[0].points[2]'
    """
    text = ''.join(f'[{step}]' if isinstance(step, int) else f'.{step}' for step in path if not is_tag(step))
    return text.removeprefix('.')


def sentence(entry: ErrorDetails) -> str:
    """One of pydantic's errors as a sentence: place, given value, what is needed."""
    kind, place, given, context = entry['type'], written(entry['loc']), entry['input'], entry.get('ctx') or {}
    name = place or 'the record'
    if kind == 'missing':
        found = ', '.join(map(repr, given)) if isinstance(given, dict) else ''
        return f'{name} is missing; keys found: {found or "none"}'
    if kind == 'fault':
        return f'{place}: {context["message"]}' if place else context['message']
    if kind in ('too_short', 'too_long'):
        wanted = context.get('min_length', context.get('max_length'))
        return (
            f'{name} has {context["actual_length"]} items; {"at least" if kind == "too_short" else "at most"} {wanted} are needed'
        )
    if kind in ('greater_than_equal', 'less_than_equal'):
        limit = f'at least {context["ge"]:,.0f}' if 'ge' in context else f'at most {context["le"]:,.0f}'
        return f'{name} is {shortly(given)}; {limit} is allowed'
    if kind == 'union_tag_invalid':
        kinds = re.findall(r'<(.*?)>', context['expected_tags'])
        return f'{name} is {shortly(given)}; {", or ".join(kinds)} is needed'
    return f'{name} is {shortly(given)}; {NEEDED.get(kind, entry["msg"])}'


@dataclass(frozen=True)
class FormatField:
    """A field of a format, for the documentation.

    Args:
        name: Its name.
        path: Where it stands in a record, ``shapes[].label``.
        required: Whether a record must have it.
        mark: What becomes of it.
    """

    name: str
    path: str
    required: bool
    mark: Reads | Harmless | Refuses


def fields_of(schema: Any, path: str = '') -> Iterator[FormatField]:
    """All fields of a format, also those of nested objects."""
    if is_typeddict(schema):
        for name, kind in get_type_hints(schema, include_extras=True).items():
            place = f'{path}.{name}' if path else name
            inner = kind.__args__[0] if get_origin(kind) is NotRequired else kind
            mark = next(
                (extra for extra in getattr(inner, '__metadata__', ()) if isinstance(extra, Reads | Harmless | Refuses)), None
            )
            if mark is not None:
                yield FormatField(name, place, get_origin(kind) is not NotRequired, mark)
            yield from fields_of(inner, place)
        return
    if get_origin(schema) is list:
        path = f'{path}[]'
    for part in get_args(schema)[: 1 if hasattr(schema, '__metadata__') else None]:
        yield from fields_of(part, path)
