"""Emoji on photographs: choice, positions and pixels; each scene is a pure function of (seed, split, index)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lisa_mm.errors import DataError

from ..demo.backgrounds import draw_background
from .stickers import Sticker

MIN_OBJECTS, MAX_OBJECTS = 4, 8
MIN_VISIBLE = 0.6
SIZES = (0.12, 0.38)
"""Longer side of a pasted emoji, as a share of the longer side of the scene."""


@dataclass(frozen=True)
class Pasted:
    """An emoji of a scene, the number of its drawing, and its visible mask (H, W) uint8."""

    sticker: Sticker
    drawing: int
    mask: np.ndarray


def draw_scene(
    seed: int, split: str, index: int, stickers: Sequence[Sticker], photos: Sequence[Path] = ()
) -> tuple[np.ndarray, list[Pasted], np.random.Generator]:
    """Paste 4 to 8 different emoji, later ones over earlier ones.

    Args:
        seed, split, index: Identify the scene.
        stickers: Stickers to choose from.
        photos: Background images for most scenes; the others, or all, have a drawn texture.

    Returns:
        The (H, W, 3) uint8 RGB image, the pasted emoji, and the generator for the scene's texts.
    """
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    height, width = _size(rng)
    canvas = _ground(rng, height, width, photos).astype(np.float32)
    owner = np.zeros((height, width), np.int32)
    chosen = rng.permutation(len(stickers))[: int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))]
    placed: list[tuple[Sticker, int]] = []
    areas: list[int] = []
    for number in chosen:
        drawing = int(rng.integers(len(stickers[number].drawings)))
        if _paste(rng, canvas, owner, areas, stickers[number].drawings[drawing]):
            placed.append((stickers[number], drawing))
    canvas += rng.normal(0, rng.uniform(0, 4), canvas.shape).astype(np.float32)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return image, [Pasted(*which, (owner == i).astype(np.uint8)) for i, which in enumerate(placed, 1)], rng


def _size(rng: np.random.Generator) -> tuple[int, int]:
    long_side = int(rng.integers(216, 257))
    short_side = int(long_side * rng.choice([1.0, 0.75, 0.67]))
    return (short_side, long_side) if rng.random() < 0.5 else (long_side, short_side)


def _ground(rng: np.random.Generator, height: int, width: int, photos: Sequence[Path]) -> np.ndarray:
    """A random crop of a photograph, or a texture."""
    if not photos or rng.random() < 0.3:
        return draw_background(rng, height, width)
    path = photos[int(rng.integers(len(photos)))]
    read = cv2.imread(str(path))
    if read is None:
        raise DataError(f'{path} cannot be read as an image: take it out of the folder of photographs.', file=path)
    photo = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    if rng.random() < 0.5:
        photo = cv2.flip(photo, 1)
    share = min(photo.shape[0] / height, photo.shape[1] / width) * rng.uniform(0.5, 1.0)
    h, w = max(1, int(height * share)), max(1, int(width * share))
    y, x = rng.integers(photo.shape[0] - h + 1), rng.integers(photo.shape[1] - w + 1)
    return cv2.resize(np.ascontiguousarray(photo[y : y + h, x : x + w]), (width, height), interpolation=cv2.INTER_AREA)


def _paste(rng: np.random.Generator, canvas: np.ndarray, owner: np.ndarray, areas: list[int], drawing: np.ndarray) -> bool:
    """Paste onto canvas and owner, and add the area; False if no place leaves the others visible."""
    picture = _varied(rng, drawing, max(canvas.shape))
    height, width = picture.shape[:2]
    opaque = picture[..., 3] > 127
    seen = np.bincount(owner.ravel(), minlength=len(areas) + 1)
    for _ in range(20):
        y, x = int(rng.integers(canvas.shape[0] - height + 1)), int(rng.integers(canvas.shape[1] - width + 1))
        region = owner[y : y + height, x : x + width]
        covered = np.bincount(region[opaque], minlength=len(areas) + 1)
        if ((seen - covered)[1:] >= MIN_VISIBLE * np.array(areas)).all():
            alpha = picture[..., 3:] / 255
            part = canvas[y : y + height, x : x + width]
            part += alpha * (picture[..., :3] - part)
            areas.append(int(opaque.sum()))
            region[opaque] = len(areas)
            return True
    return False


def _varied(rng: np.random.Generator, picture: np.ndarray, long_side: int) -> np.ndarray:
    """(h, w, 4) float32, cropped to the drawing: rotated, mirrored, with another size, colour and light."""
    size = long_side * np.exp(rng.uniform(*np.log(SIZES)))
    ys, xs = np.nonzero(picture[..., 3] > 127)
    scale = size / (max(np.ptp(xs), np.ptp(ys)) + 1)
    turn = np.deg2rad(rng.normal(0, 10))
    mirror = rng.choice([-1.0, 1.0])
    stretch = np.exp(rng.normal(0, 0.06))
    side = int(np.ceil(size * 1.5))
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * [mirror * scale * stretch, scale / stretch]
    middle = np.array([xs.min() + xs.max(), ys.min() + ys.max()]) / 2
    offset = np.array([side / 2, side / 2]) - linear @ middle
    colours = picture[..., :3] * (picture[..., 3:] / np.float32(255))  # premultiplied, so that borders keep their colour
    flat = np.concatenate([colours, picture[..., 3:].astype(np.float32)], axis=2)
    flat = cv2.warpAffine(_blurred(flat, scale), np.column_stack([linear, offset]), (side, side), flags=cv2.INTER_LINEAR)
    ys, xs = np.nonzero(flat[..., 3] > 127)
    flat = flat[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1][: long_side * 2 // 3, : long_side * 2 // 3]
    flat[..., :3] /= np.maximum(flat[..., 3:], 1) / 255
    return np.concatenate([_other_light(rng, flat[..., :3]), flat[..., 3:]], axis=2)


def _blurred(picture: np.ndarray, scale: float) -> np.ndarray:
    """Blur against aliasing if the picture shrinks."""
    return cv2.GaussianBlur(picture, (0, 0), 0.4 / scale) if scale < 1 else picture


def _other_light(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Change hue, saturation and brightness, and add a light gradient across the picture, as on a solid object."""
    hsv = cv2.cvtColor(np.clip(colours / np.float32(255), 0, 1), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.normal(0, 8)) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * np.exp(rng.normal(0, 0.15)), 0, 1)
    lit = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    height, width = lit.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * np.linspace(-1, 1, height)[:, None] + np.sin(angle) * np.linspace(-1, 1, width)[None]
    gain = np.exp(rng.normal(0, 0.12)) * (1 + rng.uniform(0, 0.25) * slope)
    return np.clip(lit * gain[..., None] + rng.normal(0, 8), 0, 255).astype(np.float32)
