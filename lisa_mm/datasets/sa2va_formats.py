"""Sa2VA's layout for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from typing_extensions import TypedDict

from .formats import Format, Reads, Text, fault, strict
from .mask_formats import Segmentation


def _as_many(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(row['mask']) != len(row['text']):
        raise fault(f'it has {len(row["mask"])} masks but {len(row["text"])} texts; one of each belongs to an object')
    return row


@strict
class Sa2VARow(TypedDict):
    """An entry of Sa2VA's ``annotations.json``."""

    image: Annotated[Text, Reads('path below the folder of images')]
    mask: Annotated[list[Segmentation], Reads('per object, its polygons [x, y, ...], which are united')]
    text: Annotated[list[Text], Reads('per object, its phrase')]


SA2VA: Format[Sa2VARow] = Format(Annotated[Sa2VARow, AfterValidator(_as_many)], 'Sa2VA row')
