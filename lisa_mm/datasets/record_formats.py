"""The formats of the annotation files that the readers take: every known field, and what becomes of it.

``docs/formats.md`` is made from this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import AfterValidator
from typing_extensions import NotRequired, TypedDict

from ..tokens import IMAGE_PLACEHOLDER
from .formats import Format, Id, Reads, Side, Text, fault, harmless, refused, strict
from .labelme import Shapes, in_pixels
from .mask_formats import Mask, Segmentation

ASKS, ANSWERS, SYSTEM = ('human', 'user'), ('gpt', 'assistant'), 'system'


# ReasonSeg


@strict
class ReasonSegTarget(TypedDict):
    """Questions about one object."""

    text: Annotated[list[Text], Len(1), Reads('questions or phrases for the same mask')]
    is_sentence: Annotated[bool, Reads('whether they are sentences, or phrases that the recipe asks for')]
    shapes: Annotated[Shapes, Reads('the mask, as labelme draws it')]
    name: harmless('our demo: the name of the object')


@strict
class ReasonSegFile(TypedDict):
    """``reason_seg/ReasonSeg/<split>/<name>.json``, written with labelme."""

    text: Annotated[list[Text], Len(1), Reads('questions or phrases for the same mask')]
    is_sentence: Annotated[bool, Reads('whether they are sentences, or phrases that the recipe asks for')]
    shapes: Annotated[Shapes, Reads('the mask, as labelme draws it')]
    others: NotRequired[
        Annotated[list[Annotated[ReasonSegTarget, AfterValidator(in_pixels)]], Reads('our demo: further objects of the image')]
    ]
    imagePath: NotRequired[Annotated[Text | None, Reads('name of the image; without it, the image of the same name')]]
    imageHeight: NotRequired[Annotated[Side | None, Reads('compared with the image')]]
    imageWidth: NotRequired[Annotated[Side | None, Reads('compared with the image')]]
    name: harmless('our demo: the name of the object')
    imageData: harmless('labelme: the image once more; the file is read')
    version: harmless('labelme')
    flags: harmless('labelme')
    lineColor: harmless('labelme: display')
    fillColor: harmless('labelme: display')
    otherData: harmless('labelme')


@strict
class Explanation(TypedDict):
    """An entry of ``reason_seg/ReasonSeg/explanatory/train.json``."""

    image: Annotated[Text, Reads('name of the explained image')]
    outputs: Annotated[Text, Reads('the explanation')]
    query: harmless("the image's json has the question")
    json: harmless("the image's json is found by its name")


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
    turns: NotRequired[Annotated[list[list[Text]], Len(1), AfterValidator(_turns), Reads('[[question, answer], ...]')]]
    system: NotRequired[Annotated[Text, Reads("beside turns: a system text in place of the template's")]]
    masks: NotRequired[
        Annotated[list[Mask], Reads('paths of pngs, polygons, RLEs or bitmaps; one per mask token, or united without an answer')]
    ]
    id: harmless('your own name of the row')


ROW: Format[Row] = Format(Annotated[Row, AfterValidator(_one_kind)], 'row')


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
            'value': Annotated[str, Reads(f'the text; {IMAGE_PLACEHOLDER} marks the place of the image')],
            'weight': refused('delete it, or the row', 1, 1.0),
            'loss': refused('delete it, or the row', True),
        },
    )
)


def _image(image: Any) -> Any:
    if isinstance(image, list) and len(image) > 1:
        raise fault(f'it is a list of {len(image)} images; one is supported')
    inner = image[0] if isinstance(image, list) and image else image
    if inner is not None and not isinstance(inner, str):
        raise fault(f'it is {inner!r}; a path is needed')
    return image


SEVERAL = 'one image per row is supported, in the field image'


@strict
class LlavaRow(TypedDict):
    """A row of LLaVA's format, json or jsonl."""

    conversations: Annotated[list[Said], Len(1), Reads('human and gpt in turn, gpt last; a system text may come first')]
    image: NotRequired[
        Annotated[
            Any, AfterValidator(_image), Reads('path below the image folder, also as a list of one; "" or null: text alone')
        ]
    ]
    masks: NotRequired[Annotated[list[Mask], Reads('paths of pngs, polygons, RLEs or bitmaps; one per mask token')]]
    images: refused(SEVERAL, [])
    video: refused('videos are not supported')
    videos: refused('videos are not supported', [])
    id: harmless('names the row in errors')
    width: harmless('the image has it')
    height: harmless('the image has it')
    model: harmless('who wrote it')
    source: harmless('who wrote it')
    data_source: harmless('who wrote it')
    metadata: harmless('who wrote it')


LLAVA: Format[LlavaRow] = Format(LlavaRow, 'row')


# COCO


@strict
class CocoImage(TypedDict):
    """An entry of ``images`` in a COCO json."""

    id: Annotated[Id, Reads('annotations refer to it')]
    file_name: Annotated[Text, Reads('path below the image folder')]
    height: Annotated[Side, Reads('compared with the image')]
    width: Annotated[Side, Reads('compared with the image')]
    coco_url: harmless('the file is read')
    flickr_url: harmless('the file is read')
    license: harmless('describes the file')
    date_captured: harmless('describes the file')
    neg_category_ids: harmless('LVIS: for its own metric')
    not_exhaustive_category_ids: harmless('LVIS: for its own metric')
    extra: harmless('Roboflow: remarks')
    caption: harmless('RefCOCO-like files: no question')


@strict
class CocoAnnotation(TypedDict):
    """An entry of ``annotations`` in a COCO json."""

    id: Annotated[Id, Reads('referring expressions refer to it')]
    image_id: Annotated[Id, Reads('its image')]
    category_id: NotRequired[Annotated[Id, Reads('PACO and PASCAL-Part: what it is')]]
    segmentation: Annotated[Segmentation, Reads('polygons [x, y, ...], RLEs, or an empty list')]
    ignore: refused('delete the annotation', 0, False)
    ignored: refused('delete the annotation', 0, False)
    iscrowd: harmless('a crowd is asked for as one mask')
    bbox: harmless('the mask is read')
    area: harmless('the mask is read')
    attributes: harmless("an annotator's remarks")
    attribute_ids: harmless('PACO: not asked for')
    dom_color_ids: harmless('PACO: not asked for')
    unknown_color: harmless('PACO: not asked for')
    unknown_pattern_marking: harmless('PACO: not asked for')
    unknown_material: harmless('PACO: not asked for')
    unknown_transparency: harmless('PACO: not asked for')
    obj_ann_id: harmless('PACO: the name of a part has its object')
    instance_id: harmless('PACO: not asked for')
    keypoints: harmless('not asked for')
    num_keypoints: harmless('not asked for')


@strict
class CocoCategory(TypedDict):
    """An entry of ``categories`` in a COCO json."""

    id: Annotated[Id, Reads('annotations refer to it')]
    name: Annotated[Text, Reads('PACO and PASCAL-Part: asked for; "object:part" is a part')]
    supercategory: harmless('not asked for')
    keypoints: harmless('not asked for')
    skeleton: harmless('not asked for')
    synset: harmless('LVIS: not asked for')
    synonyms: harmless('LVIS: not asked for')
    frequency: harmless('LVIS')
    image_count: harmless('LVIS')
    instance_count: harmless('LVIS')


@strict
class CocoLists(TypedDict):
    """A COCO json."""

    images: Annotated[list[Any], Reads('see below')]
    annotations: Annotated[list[Any], Reads('see below')]
    categories: Annotated[list[Any], Reads('see below')]
    info: harmless('describes the file')
    licenses: harmless('describes the file')
    attributes: harmless('PACO: not asked for')
    part_categories: harmless('PACO: not asked for')
    attr_type_to_attr_idxs: harmless('PACO: not asked for')
    type: harmless('describes the file')


COCO_LISTS: Format[CocoLists] = Format(CocoLists, 'COCO json')
COCO_IMAGE: Format[CocoImage] = Format(CocoImage, 'image')
COCO_ANNOTATION: Format[CocoAnnotation] = Format(CocoAnnotation, 'annotation')
COCO_CATEGORY: Format[CocoCategory] = Format(CocoCategory, 'category')


# referring expressions

FALSE_PREMISE = 'expressions of what is not there (FP-RefCOCO) are not read by this reader; delete the expression'


@strict
class Sentence(TypedDict):
    """A referring expression."""

    sent: Annotated[Text, Reads('the expression, asked for in lower case')]
    is_false_premise: refused(FALSE_PREMISE, False)
    exist: refused(FALSE_PREMISE, True, 1)
    gt_sent: harmless('FP-RefCOCO: the corrected expression')
    raw: harmless('sent is read')
    tokens: harmless('sent is read')
    sent_id: harmless('not needed')


def _annotation_ids(ids: Any) -> Any:
    for number in ids if isinstance(ids, list) else [ids]:
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise fault(f'it is {ids!r}; an id or a list of ids is needed')
    return ids


@strict
class Ref(TypedDict):
    """An entry of ``refs(<split_by>).p`` or ``grefs(<split_by>).json``."""

    split: Annotated[Text, Reads('train, val, test, testA, testB, testC, testAB ...')]
    image_id: Annotated[Id, Reads('its image in instances.json')]
    ann_id: Annotated[Any, AfterValidator(_annotation_ids), Reads('its annotation, or (gRefCOCO) a list; -1: none')]
    sentences: Annotated[list[Sentence], Len(1), Reads('expressions for the same mask')]
    no_target: NotRequired[Annotated[bool | None, Reads('gRefCOCO: nothing in the image is meant')]]
    ref_id: harmless('names it in errors')
    category_id: harmless('not asked for')
    file_name: harmless("instances.json has the image's name")
    sent_ids: harmless('not needed')
    box: harmless('the mask is read')
    mask: harmless('the annotation has it')


REF: Format[Ref] = Format(Ref, 'ref')


# Mapillary Vistas


@strict
class MapillaryLabel(TypedDict):
    """A label of ``config_v2.0.json``; its place in the list is its value in the pngs."""

    readable: Annotated[Text, Reads('the name, asked for in lower case')]
    name: harmless('readable is read')
    instances: harmless('classes are asked for, not instances')
    evaluate: harmless('classes outside the benchmark are asked for too')
    color: harmless('display')


@strict
class MapillaryConfig(TypedDict):
    """``mapillary/config_v2.0.json``."""

    labels: Annotated[list[MapillaryLabel], Len(1), Reads('the classes')]
    folder_structure: harmless('it is known')
    mapping: harmless('describes the file')
    version: harmless('describes the file')


MAPILLARY: Format[MapillaryConfig] = Format(MapillaryConfig, 'mapillary config')

ALL = (REASON_SEG, EXPLANATION, ROW, LLAVA, COCO_LISTS, COCO_IMAGE, COCO_ANNOTATION, COCO_CATEGORY, REF, MAPILLARY)
