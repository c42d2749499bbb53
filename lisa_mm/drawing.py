"""Masks on images: colours that are seen there, fills, and borders of two lines."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .visualization import Color

# From dark to light. The distances in CIE Lab are at least 48 to the eye, and 24 under protanopia, deuteranopia and tritanopia;
# the lightness differs by 6 and more, so that a grey print keeps an order (tests/test_drawing.py has the measurement).
PALETTE: tuple[Color, ...] = (
    (119, 51, 255),
    (221, 51, 17),
    (221, 85, 136),
    (119, 170, 85),
    (255, 119, 255),
    (238, 187, 68),
    (17, 238, 221),
    (221, 255, 17),
)
# of a predicted mask beside the green outline of the true one
BESIDE_GREEN: tuple[Color, ...] = ((221, 51, 17), (119, 51, 255), (255, 119, 255))
DARK: Color = (16, 16, 16)
WHITE: Color = (255, 255, 255)

_SAMPLED = 20_000  # pixels per mask whose colours are compared
_SIMILAR = 20  # percent of the pixels that may be nearer to a colour than its contrast says
_LIGHT = 75  # lightness from which on a colour stands out from a dark line by itself
_LINES = 300  # a line is 1 pixel wide per so many pixels of the image's longer side


def mask_colors(image: np.ndarray, masks: np.ndarray, *, palette: Sequence[Color] = PALETTE) -> list[Color]:
    """A colour for each mask, which differs from what lies under it and around it.

    The contrast of a colour is the distance in CIE Lab that it keeps to four fifths of these pixels. Masks choose in order, each
    among the colours that are left, so a further mask changes no earlier colour. When none is left, all are allowed again.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (K, H, W), true inside; an empty mask is compared with the whole image.
        palette: The colours to choose from.

    Returns:
        K colours.

    Raises:
        ValueError: if image and masks differ in size.
    """
    masks = checked_masks(image, masks)
    wanted = _lab(np.array([palette], np.uint8))[0]  # (P, 3)
    colors: list[Color] = []
    left: list[int] = []
    for mask in masks:
        left = left or list(range(len(palette)))
        pixels = _lab(_pixels_near(image, mask)[None])[0]  # (N, 3)
        distances = np.linalg.norm(pixels[:, None] - wanted[left], axis=-1)  # (N, colours left)
        chosen = left[int(np.percentile(distances, _SIMILAR, axis=0).argmax())]
        left.remove(chosen)
        colors.append(palette[chosen])
    return colors


def draw_answer(image: np.ndarray, masks: np.ndarray, colors: Sequence[Color], *, alpha: float = 0.45) -> np.ndarray:
    """Fill masks and outline them: a dark line just outside, a light one and one of the mask's colour just inside.

    The pair of a dark and a light line is seen on an object of any colour, also in grey. A light colour needs no light line of
    its own. Small masks lie on large ones.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        masks: (K, H, W), true inside.
        colors: K colours, RGB.
        alpha: Opacity of the fill: 0 leaves the outlines alone, 1 hides the image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: if image and masks differ in size, or the number of colours is another one.
    """
    masks = checked_masks(image, masks)
    if len(colors) != len(masks):
        raise ValueError(f'there are {len(masks)} masks but {len(colors)} colours: give each mask one')
    drawn = image.copy()
    order = sorted(range(len(masks)), key=lambda k: -int(masks[k].sum()))
    for k in order:
        drawn[masks[k]] = np.rint(drawn[masks[k]] * (1 - alpha) + np.asarray(colors[k]) * alpha).astype(np.uint8)
    for k in order:
        _outline(drawn, masks[k], colors[k])
    return drawn


def draw_outline(image: np.ndarray, mask: np.ndarray, color: Color) -> np.ndarray:
    """Outline one mask (H, W) by a dark line outside it and a light and a coloured one inside, as :func:`draw_answer` does."""
    drawn = image.copy()
    _outline(drawn, checked_masks(image, mask[None])[0], color)
    return drawn


def _outline(drawn: np.ndarray, mask: np.ndarray, color: Color) -> None:
    width = line_width(drawn)
    window = _window(mask, width + 1)
    if window is None:
        return
    inside, view = mask[window], drawn[window]
    # the image's edge ends the mask, so the distances are those to its outside
    depth = _distance(np.pad(inside, 1))[1:-1, 1:-1]
    view[~inside & (_distance(~inside) < width + 0.5)] = DARK
    view[inside & (depth < 2 * width + 0.5)] = color
    if _lab(np.array([[color]], np.uint8))[0, 0, 0] < _LIGHT:
        view[inside & (depth < width + 0.5)] = WHITE


def line_width(image: np.ndarray) -> int:
    """Width in pixels of each line along a mask's border."""
    return max(1, round(max(image.shape[:2]) / _LINES))


def checked_masks(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The masks as (K, H, W) bool, if they have the image's size; a ValueError if not."""
    masks = np.asarray(masks, dtype=bool)
    if image.ndim != 3 or masks.ndim != 3 or (len(masks) and image.shape != (*masks.shape[1:], 3)):
        raise ValueError(
            f'the image is {image.shape}, the masks are {masks.shape}: they must be (H, W, 3) and (K, H, W) of one size'
        )
    return masks


def _pixels_near(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N, 3) uint8: pixels under a mask and just around it, evenly taken."""
    step = 1 + max(image.shape[:2]) // 1000
    if mask[::step, ::step].any():  # a small mask keeps all its pixels
        image, mask = image[::step, ::step], mask[::step, ::step]
    reach = 2 + max(image.shape[:2]) // 40
    window = _window(mask, reach)
    if window is None:
        pixels = image.reshape(-1, 3)
    else:
        near = cv2.dilate(mask[window].astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        pixels = image[window][near > 0]
    return pixels[:: 1 + len(pixels) // _SAMPLED]


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """The part of the image that a mask and a margin around it take; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )


def _distance(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32: for each pixel of the mask, the distance to the nearest one outside."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)


def _lab(colors: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB -> CIE Lab, float32."""
    return cv2.cvtColor(colors.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
