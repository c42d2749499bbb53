"""The format of ReasonSeg as parquet."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import NotRequired, TypedDict

from .formats import Format, Harmless, Id, Reads, Side, Text, strict


@strict
class ReasonSegRow(TypedDict):
    """A row of ReasonSeg as parquet, as Seg-Zero and VisionReasoner publish it."""

    image: Annotated[Any, Reads('the file of the image, as bytes or as {bytes, path}')]
    mask: Annotated[Any, Reads("rows of true and false: the target; ReasonSeg's ignored regions are true here")]
    text: Annotated[Text, Reads('the question or phrase')]
    image_id: Annotated[Id, Reads('part of the name of the sample')]
    ann_id: Annotated[Id, Reads('part of the name of the sample')]
    img_height: Annotated[Side, Reads("compared with the mask's rows and with the image")]
    img_width: Annotated[Side, Reads("compared with the mask's rows and with the image")]
    is_sentence: NotRequired[
        Annotated[bool, Reads('as in a ReasonSeg json; the published files have none, and the text decides how it is asked')]
    ]
    bbox: NotRequired[Annotated[Any, Harmless('the mask is read')]]


REASON_SEG_ROW: Format[ReasonSegRow] = Format(ReasonSegRow, 'ReasonSeg parquet row')
