"""Answers as clients get them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from ..apis.answers import Answer
from .schemas import MaskFormat


def describe(answer: Answer, masks: MaskFormat = 'rle', overlay: bool = False) -> dict[str, Any]:
    """:meth:`lisa_mm.apis.answers.Answer.to_dict` for clients, who know the image's name themselves.

    Args:
        answer: The answer.
        masks: The form of its masks, each under this name.
        overlay: Add ``overlay``, the image with its masks as a data URI.

    Returns:
        What becomes JSON; with a ``hint`` if the answer has no mask.
    """
    found = answer.to_dict()
    del found['image']
    for number, mask in enumerate(found['masks'], answer.earlier):
        if masks == 'polygons':
            del mask['rle']
            mask['polygons'] = answer.polygons[number]
        elif masks == 'png':
            del mask['rle']
            mask['png'] = png(answer.masks[number].astype(np.uint8) * 255)
    if answer.hint:
        found['hint'] = answer.hint
    if overlay:
        found['overlay'] = f'data:image/png;base64,{png(answer.overlay())}'
    return found


def png(pixels: np.ndarray) -> str:
    """(H, W) or (H, W, 3) uint8 as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return base64.b64encode(file.getvalue()).decode('ascii')
