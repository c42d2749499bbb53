"""Textured backgrounds of low to medium saturation, so that objects stand out but are not trivial to segment."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

Grid = tuple[np.ndarray, np.ndarray]
"""y (H, 1) and x (1, W) in pixels, float32."""


def _value_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """(H, W) float32 in 0..1: random values on a grid of `cell` pixels, smoothly interpolated."""
    coarse = rng.random((height // cell + 3, width // cell + 3), dtype=np.float32)
    full = cv2.resize(coarse, (coarse.shape[1] * cell, coarse.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    return full[cell : cell + height, cell : cell + width]


def _turned(rng: np.random.Generator, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates (H, W) of axes at a random angle."""
    angle = rng.uniform(0, np.pi)
    y, x = grid
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _noise(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    height, width = len(grid[0]), grid[1].shape[1]
    return sum(w * _value_noise(rng, height, width, cell) for w, cell in ((0.5, 40), (0.3, 16), (0.2, 5)))  # type: ignore - sum begins at 0


def _stripes(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    u, _ = _turned(rng, grid)
    return (u % (period := rng.uniform(10, 28)) < period * rng.uniform(0.35, 0.65)).astype(np.float32)


def _checker(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    u, v = _turned(rng, grid)
    cell = rng.uniform(9, 22)
    return ((np.floor(u / cell) + np.floor(v / cell)) % 2).astype(np.float32)


def _gradient(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    u, _ = _turned(rng, grid)
    return (u - u.min()) / (u.max() - u.min())


def _wood(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    height, width = len(grid[0]), grid[1].shape[1]
    warp = _value_noise(rng, height, width, 48) * 60 + _value_noise(rng, height, width, 12) * 4
    y, x = grid
    along, across = (x, y) if rng.random() < 0.5 else (y, x)
    plank = np.floor(across / rng.uniform(24, 40))
    rings = 0.5 + 0.5 * np.sin((across + 0.08 * along + warp + plank * 17) * rng.uniform(0.35, 0.6))
    return 0.7 * rings + 0.3 * (plank % 2)


def _speckle(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    height, width = len(grid[0]), grid[1].shape[1]
    dots = (_value_noise(rng, height, width, 4) > 0.72).astype(np.float32)
    return 0.65 * dots + 0.35 * _value_noise(rng, height, width, 30)


def _waves(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    u, v = _turned(rng, grid)
    return 0.5 + 0.5 * np.sin(u * rng.uniform(0.2, 0.4) + rng.uniform(1.5, 3.0) * np.sin(v * rng.uniform(0.06, 0.14)))


def _plaid(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    y, x = grid
    period, width = rng.uniform(16, 30), rng.uniform(4, 9)
    return 0.5 * ((x % period) < width) + 0.5 * ((y % period) < width)


FAMILIES: dict[str, Callable[[np.random.Generator, Grid], np.ndarray]] = {
    'noise': _noise,
    'stripes': _stripes,
    'checker': _checker,
    'gradient': _gradient,
    'wood': _wood,
    'speckle': _speckle,
    'waves': _waves,
    'plaid': _plaid,
}


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a random texture between two similar colours, with a gradual change of light."""
    family = list(FAMILIES.values())[rng.integers(len(FAMILIES))]
    grid = (np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None])
    blend = family(rng, grid)[..., None]

    hue, saturation, value = rng.random(), rng.uniform(0.06, 0.34), rng.uniform(0.5, 0.76)
    first = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)
    nearby = (hue + rng.uniform(-0.06, 0.06)) % 1
    step = rng.choice([-1, 1]) * rng.uniform(0.07, 0.16)
    second = np.array(colorsys.hsv_to_rgb(nearby, saturation * rng.uniform(0.7, 1.2), value + step), np.float32)

    light = 0.94 + 0.12 * _value_noise(rng, height, width, 64)[..., None]
    grain = rng.integers(-5, 6, (height, width, 1))
    return np.clip(np.rint((first + blend * (second - first)) * light * 255 + grain), 0, 255).astype(np.uint8)
