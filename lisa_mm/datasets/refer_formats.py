"""The format of referring expressions, also of those that name what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import NotRequired, TypedDict

from .formats import Format, Harmless, Id, Plain, Reads, Text, fault, shortly, strict


def _flag(value: Any) -> Any:
    if value not in (0, 1) or not isinstance(value, bool | int):
        raise fault(f'it is {shortly(value)}; true or false (or 1 or 0) is needed')
    return value


Flag = Annotated[Any, AfterValidator(_flag)]


@strict
class Sentence(TypedDict):
    """A referring expression."""

    sent: Annotated[Text, Reads('the expression, asked for in lower case')]
    is_false_premise: NotRequired[Annotated[Flag, Reads('FP-RefCOCO: true if the image shows no such thing: an empty mask')]]
    exist: NotRequired[Annotated[Flag, Reads('R-RefCOCO: false if the image shows no such thing: an empty mask')]]
    gt_sent: NotRequired[Annotated[Plain | None, Reads('FP-RefCOCO: the corrected expression, which a metric may read')]]
    raw: NotRequired[Annotated[Any, Harmless('sent is read')]]
    tokens: NotRequired[Annotated[Any, Harmless('sent is read')]]
    sent_id: NotRequired[Annotated[Any, Harmless('not needed')]]


def _one_truth(sentence: Mapping[str, Any]) -> Mapping[str, Any]:
    if 'exist' in sentence and 'is_false_premise' in sentence and sentence['exist'] == sentence['is_false_premise']:
        raise fault(
            f'exist is {sentence["exist"]!r} and is_false_premise is {sentence["is_false_premise"]!r}, which contradict each '
            'other; correct one'
        )
    return sentence


def is_false_premise(sentence: Sentence) -> bool:
    """Whether an expression is said to name nothing in its image; without a flag it names something, as in SESAME's program."""
    return bool(sentence.get('is_false_premise', not sentence.get('exist', True)))


def _annotation_ids(ids: Any) -> Any:
    for number in ids if isinstance(ids, list) else [ids]:
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise fault(f'it is {ids!r}; an id or a list of ids is needed')
    return ids


@strict
class Ref(TypedDict):
    """An entry of ``refs(<split_by>).p``, ``grefs(<split_by>).json`` or ``grefs(<split_by>).p``."""

    split: Annotated[Text, Reads('train, val, test, testA, testB, testC, testAB ...')]
    image_id: Annotated[Id, Reads('its image in instances.json')]
    ann_id: Annotated[Any, AfterValidator(_annotation_ids), Reads('its annotation, or (gRefCOCO) a list; -1: none')]
    sentences: Annotated[
        list[Annotated[Sentence, AfterValidator(_one_truth)]], Field(min_length=1), Reads('expressions for the same mask')
    ]
    no_target: NotRequired[Annotated[bool | None, Reads('gRefCOCO: nothing in the image is meant')]]
    ref_id: NotRequired[Annotated[Any, Harmless('names it in errors')]]
    category_id: NotRequired[Annotated[Any, Harmless('not asked for')]]
    file_name: NotRequired[Annotated[Any, Harmless("instances.json has the image's name")]]
    sent_ids: NotRequired[Annotated[Any, Harmless('not needed')]]
    box: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    mask: NotRequired[Annotated[Any, Harmless('the annotation has it')]]


REF: Format[Ref] = Format(Ref, 'ref')
