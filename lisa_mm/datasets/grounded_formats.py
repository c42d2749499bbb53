"""The files of grounded conversation generation (GLaMM's GCG): captions whose phrases have masks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import NotRequired, TypedDict

from .formats import Format, Harmless, Id, Number, Reads, Side, Text, fault, strict
from .mask_formats import RunLengths, Segmentation


def _span(span: list[int]) -> list[int]:
    start, end = span
    if not 0 <= start < end:
        raise fault(f'it is {span}; [start, end] in characters is needed, 0 <= start < end')
    return span


Span = Annotated[list[int], Field(min_length=2, max_length=2), AfterValidator(_span)]


# GranDf_HA_GCG_<split>.json, OpenPsgGCG_<split>.json


@strict
class Grounding(TypedDict):
    """A phrase of a GranD-f caption."""

    token_positives: Annotated[Span, Reads('[start, end] of the phrase in the caption, in characters')]
    rle_masks: Annotated[list[RunLengths], Reads('its masks, which are united')]


@strict
class GroundedRow(TypedDict):
    """A row of ``GranDf_HA_GCG_<split>.json`` or ``OpenPsgGCG_<split>.json``."""

    file_name: Annotated[Text, Reads('image below its folder')]
    caption: Annotated[Text, Reads('the caption, without the quotation marks around it')]
    groundings: Annotated[dict[Text, Grounding], Reads('phrase -> its place and masks')]
    image_id: NotRequired[Annotated[Any, Harmless('file_name is read')]]
    id: NotRequired[Annotated[Any, Harmless('not needed')]]
    height: NotRequired[Annotated[Any, Harmless('the masks have it')]]
    width: NotRequired[Annotated[Any, Harmless('the masks have it')]]


# RefCOCOg_GCG_<split>.json


@strict
class GroundedRef(TypedDict):
    """A referring expression inside a caption."""

    sentence: Annotated[Text, Reads('the phrase; looked for in the caption as a whole word, in any capitals')]
    segmentation: Annotated[Segmentation, Reads('polygons [x, y, ...], which are united, or an RLE')]
    bbox: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    area: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    category_id: NotRequired[Annotated[Any, Harmless('not asked for')]]
    ann_id: NotRequired[Annotated[Any, Harmless('not needed')]]
    ref_id: NotRequired[Annotated[Any, Harmless('not needed')]]


@strict
class GroundedRefs(TypedDict):
    """A row of ``RefCOCOg_GCG_<split>.json``, alone or as the only value of an object ``{id: row}``."""

    img_file_name: Annotated[Text, Reads('image of train2014')]
    caption: Annotated[Text, Reads('the caption, in lower case and without the quotation marks around it')]
    refs: Annotated[list[GroundedRef], Reads('phrases of the caption')]
    image_id: NotRequired[Annotated[Any, Harmless('img_file_name is read')]]
    height: NotRequired[Annotated[Any, Harmless('the image has it')]]
    width: NotRequired[Annotated[Any, Harmless('the image has it')]]


# flickr_mergedGT_GCG_<split>.json


@strict
class FlickrImage(TypedDict):
    """An entry of ``images`` in ``flickr_mergedGT_GCG_<split>.json``."""

    id: Annotated[Id, Reads('annotations refer to it')]
    file_name: Annotated[Text, Reads('image of Flickr30k')]
    caption: Annotated[Text, Reads('the caption; one of fewer than 3 words is left out')]
    height: Annotated[Side, Reads('an image with a side below 32 is left out')]
    width: Annotated[Side, Reads('as height')]
    original_img_id: NotRequired[Annotated[Any, Harmless('MDETR')]]
    sentence_id: NotRequired[Annotated[Any, Harmless('MDETR')]]
    dataset_name: NotRequired[Annotated[Any, Harmless('MDETR')]]
    tokens_negative: NotRequired[Annotated[Any, Harmless('MDETR')]]
    tokens_positive_eval: NotRequired[Annotated[Any, Harmless('MDETR')]]


@strict
class FlickrAnnotation(TypedDict):
    """An entry of ``annotations`` in ``flickr_mergedGT_GCG_<split>.json``."""

    id: Annotated[Id, Reads('names it in errors')]
    image_id: Annotated[Id, Reads('its image')]
    tokens_positive: Annotated[
        list[Span], Field(min_length=1), Reads('[[start, end], ...] in the caption, in characters; the first is read')
    ]
    sam_mask: Annotated[RunLengths, Reads('its mask')]
    bbox: Annotated[
        list[Number], Field(min_length=4, max_length=4), Reads('[x, y, width, height]; outside the image or below 1: left out')
    ]
    area: Annotated[Number, Reads('0: left out')]
    ignore: NotRequired[Annotated[Any, Reads('true: left out')]]
    iscrowd: NotRequired[Annotated[Any, Harmless('a crowd is asked for as one mask')]]
    category_id: NotRequired[Annotated[Any, Harmless('the phrase is read')]]
    segmentation: NotRequired[Annotated[Any, Harmless('sam_mask is read')]]


# {val,test}_gcg_coco_{caption,mask}_gt.json


@strict
class CaptionImage(TypedDict):
    """An entry of ``images`` in ``<split>_gcg_coco_caption_gt.json``."""

    id: Annotated[Id, Reads('annotations refer to it; without file_name, the image is <id>.jpg')]
    file_name: NotRequired[Annotated[Text | None, Reads('the image')]]
    height: NotRequired[Annotated[Any, Harmless('the masks have it')]]
    width: NotRequired[Annotated[Any, Harmless('the masks have it')]]


@strict
class CaptionAnnotation(TypedDict):
    """An entry of ``annotations`` in ``<split>_gcg_coco_caption_gt.json``."""

    id: Annotated[Id, Reads('names it in errors')]
    image_id: Annotated[Id, Reads('its image')]
    caption: Annotated[Text, Reads('a reference caption')]
    labels: NotRequired[
        Annotated[list[Text], Reads("phrases of the image's masks, in their order; those of its first caption are read")]
    ]


@strict
class GroundedLists(TypedDict):
    """A GCG file in COCO's layout."""

    images: Annotated[list[Any], Reads('see below')]
    annotations: Annotated[list[Any], Reads('see below')]
    categories: NotRequired[Annotated[Any, Harmless('phrases are read')]]
    info: NotRequired[Annotated[Any, Harmless('describes the file')]]
    licenses: NotRequired[Annotated[Any, Harmless('describes the file')]]
    type: NotRequired[Annotated[Any, Harmless('describes the file')]]


GROUNDED: Format[GroundedRow] = Format(GroundedRow, 'GCG row')
GROUNDED_REFS: Format[GroundedRefs] = Format(GroundedRefs, 'GCG row of refCOCOg')
GROUNDED_LISTS: Format[GroundedLists] = Format(GroundedLists, 'GCG lists')
FLICKR_IMAGE: Format[FlickrImage] = Format(FlickrImage, 'image')
FLICKR_ANNOTATION: Format[FlickrAnnotation] = Format(FlickrAnnotation, 'annotation')
CAPTION_IMAGE: Format[CaptionImage] = Format(CaptionImage, 'image')
CAPTION: Format[CaptionAnnotation] = Format(CaptionAnnotation, 'caption')
