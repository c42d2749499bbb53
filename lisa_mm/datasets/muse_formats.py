"""MUSE's files (PixelLM): questions about several targets of a COCO image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import NotRequired, TypedDict

from .formats import Format, Harmless, Reads, Side, Text, fault, strict
from .mask_formats import Segmentation


@strict
class MuseAnnotation(TypedDict):
    """An annotation of a MUSE target."""

    segmentation: Annotated[Segmentation, Reads('polygons [x, y, ...], which are united, or an RLE')]
    rephrased_name: NotRequired[Annotated[Text | None, Reads("the target's phrase, in an answer that the file has not")]]
    category_name: NotRequired[Annotated[Text | None, Reads('its phrase where rephrased_name is missing')]]
    bbox: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    area: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    id: NotRequired[Annotated[Any, Harmless('not needed')]]
    image_id: NotRequired[Annotated[Any, Harmless('the row has its image')]]
    category_id: NotRequired[Annotated[Any, Harmless('the name is read')]]
    iscrowd: NotRequired[Annotated[Any, Harmless('a crowd is asked for as one mask')]]


ONE, SEVERAL, OTHER = '<an annotation>', '<a list of annotations>', '<other>'


def _kind(target: object) -> str:
    return ONE if isinstance(target, dict) else SEVERAL if isinstance(target, list) else OTHER


Target = Annotated[
    Annotated[MuseAnnotation, Tag(ONE)] | Annotated[list[MuseAnnotation], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(_kind),
]


def _as_many(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if row.get('file_name') is None and row.get('coco_url') is None:
        raise fault('file_name (an image of train2014) or coco_url (of train2017 or val2017) is needed')
    counts = {key: len(row[key]) for key in ('questions', 'answers', 'text_answers') if row.get(key) is not None}
    if len(set(counts.values())) > 1:
        said = ', '.join(f'{count} {key}' for key, count in counts.items())
        raise fault(f'it has {said}; one of each belongs to a question')
    return row


@strict
class MuseRow(TypedDict):
    """A row of ``muse/muse_<split>.json``: an image and questions about it."""

    file_name: NotRequired[Annotated[Text | None, Reads('image of train2014')]]
    coco_url: NotRequired[Annotated[Text | None, Reads('without file_name: its last two steps are folder and image')]]
    height: Annotated[Side, Reads('compared with the image')]
    width: Annotated[Side, Reads('compared with the image')]
    questions: Annotated[list[Text], Reads('the questions')]
    answers: Annotated[
        list[list[Target]], Reads('per question a list of targets: an annotation each, or a list of annotations that are united')
    ]
    text_answers: NotRequired[
        Annotated[
            list[Text | None] | None, Reads('per question the answer, with {seg} after each target; null: made from the names')
        ]
    ]
    ann_list: NotRequired[Annotated[Any, Harmless('all objects of the image; answers has those that are asked for')]]
    id: NotRequired[Annotated[Any, Harmless('not needed')]]
    image_id: NotRequired[Annotated[Any, Harmless('not needed')]]
    license: NotRequired[Annotated[Any, Harmless('describes the file')]]
    flickr_url: NotRequired[Annotated[Any, Harmless('the file is read')]]
    date_captured: NotRequired[Annotated[Any, Harmless('describes the file')]]
    neg_category_ids: NotRequired[Annotated[Any, Harmless('LVIS: for its own metric')]]
    not_exhaustive_category_ids: NotRequired[Annotated[Any, Harmless('LVIS: for its own metric')]]


MUSE: Format[MuseRow] = Format(Annotated[MuseRow, AfterValidator(_as_many)], 'MUSE row')
