"""The formats of the annotation files that the readers take: every known field, and what becomes of it.

``docs/formats.md`` is made from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import NotRequired, TypedDict

from ..tokens import IMAGE_PLACEHOLDER
from .formats import Format, Harmless, Id, Plain, Reads, Refuses, Side, Text, fault, strict
from .grounded_formats import (
    CAPTION,
    CAPTION_IMAGE,
    FLICKR_ANNOTATION,
    FLICKR_IMAGE,
    GROUNDED,
    GROUNDED_LISTS,
    GROUNDED_REFS,
)
from .labelme import Shapes, in_pixels
from .mask_formats import Mask, Segmentation
from .muse_formats import MUSE
from .parquet_formats import REASON_SEG_ROW
from .refer_formats import REF
from .sa2va_formats import SA2VA

ASKS, ANSWERS, SYSTEM = ('human', 'user'), ('gpt', 'assistant'), 'system'


# ReasonSeg


@strict
class ReasonSegTarget(TypedDict):
    """Questions about one object."""

    text: Annotated[list[Text], Field(min_length=1), Reads('questions or phrases for the same mask')]
    is_sentence: Annotated[bool, Reads('whether they are sentences, or phrases that the recipe asks for')]
    shapes: Annotated[Shapes, Reads('the mask, as labelme draws it')]
    name: NotRequired[Annotated[Any, Harmless('our demo: the name of the object')]]


@strict
class ReasonSegFile(TypedDict):
    """``reason_seg/ReasonSeg/<split>/<name>.json``, written with labelme."""

    text: Annotated[list[Text], Field(min_length=1), Reads('questions or phrases for the same mask')]
    is_sentence: Annotated[bool, Reads('whether they are sentences, or phrases that the recipe asks for')]
    shapes: Annotated[Shapes, Reads('the mask, as labelme draws it')]
    others: NotRequired[
        Annotated[list[Annotated[ReasonSegTarget, AfterValidator(in_pixels)]], Reads('our demo: further objects of the image')]
    ]
    imagePath: NotRequired[Annotated[Text | None, Reads('name of the image; without it, the image of the same name')]]
    imageHeight: NotRequired[Annotated[Side | None, Reads('compared with the image')]]
    imageWidth: NotRequired[Annotated[Side | None, Reads('compared with the image')]]
    name: NotRequired[Annotated[Any, Harmless('our demo: the name of the object')]]
    imageData: NotRequired[Annotated[Any, Harmless('labelme: the image once more; the file is read')]]
    version: NotRequired[Annotated[Any, Harmless('labelme')]]
    flags: NotRequired[Annotated[Any, Harmless('labelme')]]
    lineColor: NotRequired[Annotated[Any, Harmless('labelme: display')]]
    fillColor: NotRequired[Annotated[Any, Harmless('labelme: display')]]
    otherData: NotRequired[Annotated[Any, Harmless('labelme')]]


@strict
class Explanation(TypedDict):
    """An entry of ``reason_seg/ReasonSeg/explanatory/train.json``."""

    image: Annotated[Text, Reads('name of the explained image')]
    outputs: Annotated[Text, Reads('the explanation')]
    query: NotRequired[Annotated[Any, Harmless("the image's json has the question")]]
    json: NotRequired[Annotated[Any, Harmless("the image's json is found by its name")]]


REASON_SEG: Format[ReasonSegFile] = Format(Annotated[ReasonSegFile, AfterValidator(in_pixels)], 'ReasonSeg json')
EXPLANATION: Format[Explanation] = Format(Explanation, 'explanation')


# our own schema


def _turns(turns: Any) -> Any:
    for turn in turns:
        if len(turn) != 2:
            raise fault(f'a turn is [question, answer]; one has {len(turn)} texts')
    return turns


def _one_kind(row: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = [key for key in ('phrase', 'question', 'turns') if key in row]
    if len(kinds) != 1:
        raise fault(f'one of phrase, question (with or without answer) and turns is needed; keys found: {", ".join(row)}')
    if row.get('answer') is not None and kinds != ['question']:
        raise fault(f"an answer belongs to a question, but it has {kinds[0]}; a phrase is answered with the recipe's strings")
    if 'system' in row and kinds != ['turns']:
        raise fault('a system text belongs to turns; write question and answer as turns')
    image = row.get('image')
    if image is None and (row.get('masks') or kinds == ['phrase']):
        raise fault('masks or a phrase need an image')
    if image is None and kinds == ['question'] and row.get('answer') is None:
        raise fault('an answer is missing; only a question about an image may go without')
    return row


@strict
class Row(TypedDict):
    """A row of our own schema, jsonl or json."""

    image: NotRequired[Annotated[Text | None, Reads('path below the folder of the file; without it, text alone')]]
    phrase: NotRequired[Annotated[Text, Reads("a thing, asked and answered with the recipe's strings")]]
    question: NotRequired[Annotated[Text, Reads("a sentence; without answer, answered with the recipe's strings")]]
    answer: NotRequired[Annotated[Text | None, Reads('the answer to question, with one mask token per mask')]]
    turns: NotRequired[
        Annotated[list[list[Text]], Field(min_length=1), AfterValidator(_turns), Reads('[[question, answer], ...]')]
    ]
    system: NotRequired[Annotated[Text, Reads("beside turns: a system text in place of the template's")]]
    masks: NotRequired[
        Annotated[list[Mask], Reads('paths of pngs, polygons, RLEs or bitmaps; one per mask token, or united without an answer')]
    ]
    id: NotRequired[Annotated[Any, Harmless('your own name of the row')]]


ROW: Format[Row] = Format(Annotated[Row, AfterValidator(_one_kind)], 'row')


# questions for tools/infer.py


def _one_question(row: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = [key for key in ('phrase', 'question') if key in row]
    if len(kinds) != 1:
        raise fault(f'one of phrase and question is needed; keys found: {", ".join(row)}')
    if 'raw' in row and kinds == ['phrase']:
        raise fault("raw belongs to a question; a phrase is asked with the recipe's strings")
    return row


@strict
class Question(TypedDict):
    """A row of the questions that ``tools/infer.py`` answers, jsonl or json."""

    image: Annotated[Text, Reads('path below the folder of the file')]
    phrase: NotRequired[Annotated[Text, Reads("a thing, asked with the recipe's strings")]]
    question: NotRequired[Annotated[Text, Reads("asked with the recipe's strings, as far as it does not ask for a mask")]]
    raw: NotRequired[Annotated[bool, Reads('beside question: ask it as it is; otherwise as --raw says')]]
    seed: NotRequired[Annotated[int, Field(ge=0), Reads('of the draws with a temperature; otherwise as --seed says')]]
    history: NotRequired[
        Annotated[list[list[Text]], AfterValidator(_turns), Reads('[[question, answer], ...], earlier turns about the image')]
    ]
    id: NotRequired[Annotated[Id, Reads('your own name of the row, which its answer has too')]]


QUESTION: Format[Question] = Format(Annotated[Question, AfterValidator(_one_question)], 'question')


# LLaVA


SPEAKERS = ', '.join((*ASKS, *ANSWERS, SYSTEM))


def _speaker(who: str) -> str:
    if who not in (*ASKS, *ANSWERS, SYSTEM):
        raise fault(f'it is {who!r}; allowed: {SPEAKERS}')
    return who


# "from" can't be the name of an attribute
Said = strict(
    TypedDict(
        'Said',
        {
            'from': Annotated[str, AfterValidator(_speaker), Reads(f'who says it: {SPEAKERS}')],
            'value': Annotated[Plain, Reads(f'the text; {IMAGE_PLACEHOLDER} marks the place of the image')],
            'weight': NotRequired[
                Annotated[
                    Any,
                    Refuses(
                        'delete it, or the row',
                        (
                            1,
                            1.0,
                        ),
                    ),
                ]
            ],
            'loss': NotRequired[Annotated[Any, Refuses('delete it, or the row', (True,))]],
        },
    )
)


def _image(image: Any) -> Any:
    if isinstance(image, list) and len(image) > 1:
        raise fault(f'it is a list of {len(image)} images; one is supported')
    inner = image[0] if isinstance(image, list) and image else image
    if inner is not None and not isinstance(inner, str):
        raise fault(f'it is {inner!r}; a path is needed')
    if isinstance(inner, str) and not inner.isprintable():
        raise fault(f'it is {inner!r}; a path is needed')
    return image


SEVERAL = 'one image per row is supported, in the field image'


@strict
class LlavaRow(TypedDict):
    """A row of LLaVA's format, json or jsonl."""

    conversations: Annotated[
        list[Said], Field(min_length=1), Reads('human and gpt in turn, gpt last; a system text may come first')
    ]
    image: NotRequired[
        Annotated[
            Any, AfterValidator(_image), Reads('path below the image folder, also as a list of one; "" or null: text alone')
        ]
    ]
    masks: NotRequired[Annotated[list[Mask], Reads('paths of pngs, polygons, RLEs or bitmaps; one per mask token')]]
    images: NotRequired[Annotated[Any, Refuses(SEVERAL, ([],))]]
    video: NotRequired[Annotated[Any, Refuses('videos are not supported')]]
    videos: NotRequired[Annotated[Any, Refuses('videos are not supported', ([],))]]
    id: NotRequired[Annotated[Any, Harmless('names the row in errors')]]
    width: NotRequired[Annotated[Any, Harmless('the image has it')]]
    height: NotRequired[Annotated[Any, Harmless('the image has it')]]
    model: NotRequired[Annotated[Any, Harmless('who wrote it')]]
    source: NotRequired[Annotated[Any, Harmless('who wrote it')]]
    data_source: NotRequired[Annotated[Any, Harmless('who wrote it')]]
    metadata: NotRequired[Annotated[Any, Harmless('who wrote it')]]


LLAVA: Format[LlavaRow] = Format(LlavaRow, 'row')


# COCO


@strict
class CocoImage(TypedDict):
    """An entry of ``images`` in a COCO json."""

    id: Annotated[Id, Reads('annotations refer to it')]
    file_name: Annotated[Text, Reads('path below the image folder')]
    height: Annotated[Side, Reads('compared with the image')]
    width: Annotated[Side, Reads('compared with the image')]
    coco_url: NotRequired[Annotated[Any, Harmless('the file is read')]]
    flickr_url: NotRequired[Annotated[Any, Harmless('the file is read')]]
    license: NotRequired[Annotated[Any, Harmless('describes the file')]]
    date_captured: NotRequired[Annotated[Any, Harmless('describes the file')]]
    neg_category_ids: NotRequired[Annotated[Any, Harmless('LVIS: for its own metric')]]
    not_exhaustive_category_ids: NotRequired[Annotated[Any, Harmless('LVIS: for its own metric')]]
    extra: NotRequired[Annotated[Any, Harmless('Roboflow: remarks')]]
    caption: NotRequired[Annotated[Any, Harmless('RefCOCO-like files: no question')]]


@strict
class CocoAnnotation(TypedDict):
    """An entry of ``annotations`` in a COCO json."""

    id: Annotated[Id, Reads('referring expressions refer to it')]
    image_id: Annotated[Id, Reads('its image')]
    category_id: NotRequired[Annotated[Id, Reads('PACO and PASCAL-Part: what it is')]]
    segmentation: Annotated[Segmentation, Reads('polygons [x, y, ...], RLEs, or an empty list')]
    ignore: NotRequired[
        Annotated[
            Any,
            Refuses(
                'delete the annotation',
                (
                    0,
                    False,
                ),
            ),
        ]
    ]
    ignored: NotRequired[
        Annotated[
            Any,
            Refuses(
                'delete the annotation',
                (
                    0,
                    False,
                ),
            ),
        ]
    ]
    iscrowd: NotRequired[Annotated[Any, Harmless('a crowd is asked for as one mask')]]
    bbox: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    area: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    score: NotRequired[Annotated[Any, Harmless('confidence of the model that proposed it')]]
    attributes: NotRequired[Annotated[Any, Harmless("an annotator's remarks")]]
    attribute_ids: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    dom_color_ids: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    unknown_color: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    unknown_pattern_marking: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    unknown_material: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    unknown_transparency: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    obj_ann_id: NotRequired[Annotated[Any, Harmless('PACO: the name of a part has its object')]]
    instance_id: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    keypoints: NotRequired[Annotated[Any, Harmless('not asked for')]]
    num_keypoints: NotRequired[Annotated[Any, Harmless('not asked for')]]


@strict
class CocoCategory(TypedDict):
    """An entry of ``categories`` in a COCO json."""

    id: Annotated[Id, Reads('annotations refer to it')]
    name: Annotated[Text, Reads('PACO and PASCAL-Part: asked for; "object:part" is a part')]
    supercategory: NotRequired[Annotated[Any, Harmless('not asked for')]]
    keypoints: NotRequired[Annotated[Any, Harmless('not asked for')]]
    skeleton: NotRequired[Annotated[Any, Harmless('not asked for')]]
    synset: NotRequired[Annotated[Any, Harmless('LVIS: not asked for')]]
    synonyms: NotRequired[Annotated[Any, Harmless('LVIS: not asked for')]]
    frequency: NotRequired[Annotated[Any, Harmless('LVIS')]]
    image_count: NotRequired[Annotated[Any, Harmless('LVIS')]]
    instance_count: NotRequired[Annotated[Any, Harmless('LVIS')]]


@strict
class CocoLists(TypedDict):
    """A COCO json."""

    images: Annotated[list[Any], Reads('see below')]
    annotations: Annotated[list[Any], Reads('see below')]
    categories: Annotated[list[Any], Reads('see below')]
    info: NotRequired[Annotated[Any, Harmless('describes the file')]]
    licenses: NotRequired[Annotated[Any, Harmless('describes the file')]]
    attributes: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    part_categories: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    attr_type_to_attr_idxs: NotRequired[Annotated[Any, Harmless('PACO: not asked for')]]
    type: NotRequired[Annotated[Any, Harmless('describes the file')]]


COCO_LISTS: Format[CocoLists] = Format(CocoLists, 'COCO json')
COCO_IMAGE: Format[CocoImage] = Format(CocoImage, 'image')
COCO_ANNOTATION: Format[CocoAnnotation] = Format(CocoAnnotation, 'annotation')
COCO_CATEGORY: Format[CocoCategory] = Format(CocoCategory, 'category')


# Mapillary Vistas


@strict
class MapillaryLabel(TypedDict):
    """A label of ``config_v2.0.json``; its place in the list is its value in the pngs."""

    readable: Annotated[Text, Reads('the name, asked for in lower case')]
    name: NotRequired[Annotated[Any, Harmless('readable is read')]]
    instances: NotRequired[Annotated[Any, Harmless('classes are asked for, not instances')]]
    evaluate: NotRequired[Annotated[Any, Harmless('classes outside the benchmark are asked for too')]]
    color: NotRequired[Annotated[Any, Harmless('display')]]


@strict
class MapillaryConfig(TypedDict):
    """``mapillary/config_v2.0.json``."""

    labels: Annotated[list[MapillaryLabel], Field(min_length=1), Reads('the classes')]
    folder_structure: NotRequired[Annotated[Any, Harmless('it is known')]]
    mapping: NotRequired[Annotated[Any, Harmless('describes the file')]]
    version: NotRequired[Annotated[Any, Harmless('describes the file')]]


MAPILLARY: Format[MapillaryConfig] = Format(MapillaryConfig, 'mapillary config')

ALL = (
    REASON_SEG,
    EXPLANATION,
    REASON_SEG_ROW,
    ROW,
    QUESTION,
    LLAVA,
    COCO_LISTS,
    COCO_IMAGE,
    COCO_ANNOTATION,
    COCO_CATEGORY,
    REF,
    MAPILLARY,
    MUSE,
    GROUNDED,
    GROUNDED_REFS,
    GROUNDED_LISTS,
    FLICKR_IMAGE,
    FLICKR_ANNOTATION,
    CAPTION_IMAGE,
    CAPTION,
    SA2VA,
)
