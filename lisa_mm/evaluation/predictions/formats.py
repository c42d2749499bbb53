"""The entries of json files that hold predictions: which fields are read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from ...datasets.formats import Format, Harmless, Id, Plain, Reads, Text, strict
from ...datasets.mask_formats import Segmentation

Count = Annotated[int, Field(ge=0)]
Row = Annotated[Count, Reads('number of the conversation among those about the image, from 0')]


@strict
class CocoResult(TypedDict):
    """One mask in a json of COCO results."""

    image_id: Annotated[Id, Reads('the image: its COCO number, its file name or the name of the sample')]
    segmentation: Annotated[Segmentation, Reads('the mask: an RLE, or polygons')]
    sample_id: NotRequired[Annotated[Text, Reads('the sample; image_id is not looked at then')]]
    row: NotRequired[Row]
    turn: NotRequired[Annotated[Count, Reads('number of the question in its conversation, from 0')]]
    answer: NotRequired[Annotated[Plain | None, Reads('what the model said, with a [SEG] for each mask of the question')]]
    category_id: NotRequired[Annotated[Any, Harmless('questions have no categories')]]
    score: NotRequired[Annotated[Any, Harmless('every mask counts')]]
    bbox: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    area: NotRequired[Annotated[Any, Harmless('the mask is read')]]
    id: NotRequired[Annotated[Any, Harmless('nothing refers to it')]]
    iscrowd: NotRequired[Annotated[Any, Harmless('a prediction is no crowd')]]


@strict
class SegZeroEntry(TypedDict):
    """An entry of ``output_*.json`` as the programs of Seg-Zero and VisionReasoner write it."""

    image_id: Annotated[Id, Reads('the image')]
    ann_id: Annotated[Id, Reads('the annotation: with image_id it names the row of a parquet file')]
    think: NotRequired[Annotated[Plain, Reads('the reasoning, before the mask')]]
    intersection: NotRequired[Annotated[Count, Reads('pixels; read where there is no mask')]]
    union: NotRequired[Annotated[Count, Reads('pixels; read where there is no mask')]]
    segmentation: NotRequired[Annotated[Segmentation, Reads('the mask: an RLE, or polygons; the published programs write none')]]
    row: NotRequired[Row]
    bbox_iou: NotRequired[Annotated[Any, Harmless('boxes are not judged')]]
    non_object: NotRequired[Annotated[Any, Harmless('the counts say it')]]
    non_object_GT: NotRequired[Annotated[Any, Harmless('the target says it')]]
    label: NotRequired[Annotated[Any, Harmless('not asked for')]]


COCO_RESULT: Format[CocoResult] = Format(CocoResult, 'COCO result')
SEG_ZERO_ENTRY: Format[SegZeroEntry] = Format(SegZeroEntry, 'Seg-Zero entry')
