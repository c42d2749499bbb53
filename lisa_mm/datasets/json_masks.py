"""Masks in our JSON files: polygon, RLE, bitmap, or path of a png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .mask_formats import is_bitmap
from .masks import EncodedMask, encode_segmentation
from .run_lengths import compressed, encode_mask
from .tokenizer import count_masks


def encode_masks(masks: list[Any], folder: Path, file: Path, where: str) -> list[EncodedMask]:
    """The ``masks`` of a row, encoded as :func:`lisa_mm.datasets.masks.decode_mask` takes them.

    Args:
        masks: Masks as :data:`lisa_mm.datasets.mask_formats.Mask` declares them, checked.
        folder: The folder that png paths are relative to.
        file: The JSON file, for errors.
        where: The row, for errors.

    Raises:
        DataError: if a png is missing.
    """
    return [_encode(mask, folder, file, f'{where}, masks[{number}]') for number, mask in enumerate(masks)]


def check_answers(turns: Sequence[Sequence[Any]], masks: int, tokens: Sequence[str], file: Path, where: str) -> None:
    """Check that the answers of a conversation hold one mask token per mask, and its questions none.

    Raises:
        DataError: if not.
    """
    names = ' or '.join(tokens)
    asking = next((question for question, _ in turns if count_masks(question, tokens)), None)
    if asking is not None:
        raise DataError(
            f'{file}: {where}: the question {asking[:80]!r} holds {names}, which only answers may. Reword it.',
            file=file,
            record=where,
        )
    count = sum(count_masks(answer, tokens) for _, answer in turns)
    if count != masks:
        raise DataError(
            f'{file}: {where} has {count} {names} in its answers but {masks} masks. Give one mask for each.',
            file=file,
            record=where,
        )


def _encode(mask: Any, folder: Path, file: Path, where: str) -> EncodedMask:
    if isinstance(mask, str):
        path = folder / mask
        if not path.is_file():
            raise DataError(f'{file}: {where}: {path} is missing. Put it there or take the row out.', file=path, record=where)
        return {'png': str(path)}
    if isinstance(mask, dict):
        return {'rle': compressed(mask)}  # pyright: ignore[reportArgumentType] - an RLE, as its format says
    if is_bitmap(mask):
        return {'rle': encode_mask(np.array(mask))}
    return {'segmentations': encode_segmentation(mask)}
