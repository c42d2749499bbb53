"""COCO's run-length masks: column-major counts of 0 and 1 in turn, compressed as text or not.

pycocotools trusts its input: a compressed text with too few pixels leaves memory of the mask unwritten, one with too many writes
beyond it. So a text is checked here before pycocotools sees it.
"""

from __future__ import annotations

import re

import numpy as np
from pycocotools import mask as coco_mask
from typing_extensions import TypedDict

BAD_CHARACTER = re.compile('[^0-o]')
ZERO = 48  # the character of six zero bits
MORE, SIGN = 0x20, 0x10  # bits of a character: the number goes on; the last character's number is negative
BITS = 5
LONGEST = 7  # characters of a number; pycocotools shifts by 5 bits each in 64 bits, and counts have 32


class RLE(TypedDict):
    """COCO's column-major run lengths, compressed or not."""

    size: list[int]
    counts: str | list[int]


def counts_of(text: str) -> np.ndarray:
    """The run lengths of a compressed text.

    A number is written in groups of five bits, the lowest first, as characters from "0"; from the fourth on, it is the
    difference to the number two before it (pycocotools, ``maskApi.c``).

    Returns:
        (N,) int64.

    Raises:
        ValueError: for a text that pycocotools would not write, with the fault.
    """
    bad = next(iter(BAD_CHARACTER.findall(text)), None)
    if bad is not None:
        raise ValueError(f'its counts hold the character {bad!r}, which no compressed RLE has')
    values = np.frombuffer(text.encode('ascii'), np.uint8).astype(np.int64) - ZERO
    if not len(values):
        return values
    ends = np.flatnonzero(values < MORE)
    if not len(ends) or ends[-1] != len(values) - 1:
        raise ValueError('its counts end in the middle of a number: the text is cut')
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > LONGEST:
        raise ValueError(f'its counts hold a number of {lengths.max()} characters; at most {LONGEST} are possible')
    places = np.arange(len(values)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & 0x1F) << (BITS * places), starts)
    numbers -= np.where(values[ends] & SIGN, np.int64(1) << (BITS * lengths), 0)
    for first in (1, 2):  # two chains of differences; the first count stands alone
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def check_rle(rle: RLE) -> None:
    """Check a run-length mask whose size is known to be right.

    Raises:
        ValueError: if its counts are not valid or don't cover its size exactly.
    """
    height, width = rle['size']
    counts = rle['counts']
    numbers = counts_of(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if len(numbers) and numbers.min() < 0:
        raise ValueError('its counts hold a negative number of pixels')
    if numbers.sum() != height * width:
        raise ValueError(f'its counts cover {numbers.sum()} pixels, the image has {height * width}')


def decode_rle(rle: RLE) -> np.ndarray:
    """(H, W) uint8 of 0 and 1.

    Raises:
        ValueError: see :func:`check_rle`.
    """
    check_rle(rle)
    return coco_mask.decode(compressed(rle)).astype(np.uint8)  # pyright: ignore[reportArgumentType] - the stubs know bytes only


def compressed(rle: RLE) -> RLE:
    """The mask with its counts as text; uncompressed counts must have been checked."""
    counts = rle['counts']
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(rle, *rle['size'])['counts'].decode('ascii')  # type: ignore - the stubs know compressed RLE only
    return {'size': rle['size'], 'counts': counts}


def encode_mask(mask: np.ndarray) -> RLE:
    """(H, W) -> a compressed RLE of JSON types."""
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode('ascii')}  # pyright: ignore[reportAttributeAccessIssue] - bytes, which pycocotools' stub calls str
