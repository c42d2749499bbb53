"""Images and masks as the page gets them: the browser draws, so that its sliders need no server."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from ..drawing import WHITE, mask_colors
from ..pages import contrast, ink_on
from ..visualization import Color

LONGEST_PICTURE, LONGEST_MAP = 1600, 1024  # pixels of the longer side in the browser
ZERO, STEPS = 128, 16  # logit 0 as a grey value; grey values per unit of logit
_LIGHT = 2.2  # a colour with less contrast to white stands out from a dark line by itself


@dataclass(frozen=True)
class MaskLayer:
    """A mask for the browser.

    Args:
        map: Its logits as a grey PNG, a data address: ``128 + 16 * logit``, rounded up, so that exactly logits above 0 give
            grey values above 128.
        color: Its colour, '#rrggbb'.
        ink: The colour of text on it.
        is_light: Whether its outline needs no white line.
        label: What was asked for.
    """

    map: str
    color: str
    ink: str
    is_light: bool
    label: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def picture_of(image: np.ndarray) -> str:
    """An image (H, W, 3) uint8 RGB as a JPEG of at most 1600 pixels a side, a data address."""
    return _address(cv2.cvtColor(_shrunk(image, LONGEST_PICTURE), cv2.COLOR_RGB2BGR), 'jpeg')


def mask_layers(image: np.ndarray, logits: np.ndarray, labels: list[str]) -> tuple[MaskLayer, ...]:
    """The masks of an answer for the browser.

    Colours are chosen in order, so a further mask changes no earlier colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        logits: (K, H, W) float32.
        labels: What was asked for, for each mask.
    """
    colors = mask_colors(image, logits > 0)
    return tuple(
        MaskLayer(map_of(one), _hex(color), _hex(ink_on(color)), contrast(color, WHITE) < _LIGHT, label)
        for one, color, label in zip(logits, colors, labels, strict=True)
    )


def map_of(logits: np.ndarray) -> str:
    """Logits (H, W) as a grey PNG of at most 1024 pixels a side, a data address."""
    return _address(_shrunk(grey_of(logits), LONGEST_MAP), 'png')


def grey_of(logits: np.ndarray) -> np.ndarray:
    """(H, W) uint8: see :class:`MaskLayer`; logits below -8 are stored as -8, and those above 7.9 as 7.9."""
    return np.clip(ZERO + np.ceil(STEPS * logits.astype(np.float32)), 0, 255).astype(np.uint8)


def _shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _address(pixels: np.ndarray, kind: str) -> str:
    _, content = cv2.imencode(f'.{kind}', pixels, [cv2.IMWRITE_JPEG_QUALITY, 90] if kind == 'jpeg' else [])
    return f'data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}'


def _hex(color: Color) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*color)
