"""The vector drawings of the demo's 16 kinds, its 8 colours and 2 sizes, and the sprites rendered from them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SUPERSAMPLING = 2
"""Factor by which sprites are drawn larger than the image."""

COLOURS: dict[str, tuple[int, int, int]] = {
    'red': (208, 32, 38),
    'orange': (244, 130, 18),
    'yellow': (246, 216, 40),
    'green': (40, 150, 62),
    'blue': (36, 92, 214),
    'purple': (134, 54, 172),
    'white': (243, 243, 240),
    'black': (40, 40, 44),
}

SIZES: dict[str, tuple[float, float]] = {'small': (12.5, 14.5), 'large': (21.5, 24.5)}
"""Range of the half extent in image pixels, before scaling by the kind."""

_SUBPIXEL_BITS = 4
_FIXED = {
    'cream': (250, 240, 210),
    'flame': (255, 176, 40),
    'glow': (255, 236, 140),
    'glass': (190, 215, 228),
    'tyre': (52, 52, 56),
    'steel': (176, 180, 186),
    'door': (120, 78, 48),
    'ink': (30, 30, 34),
    'paper': (250, 250, 250),
}


@dataclass(frozen=True)
class Part:
    """A filled polygon.

    Args:
        points: (N, 2) float64, x right and y down, in units of the half extent.
        role: `main`, `dark` or `light` (shades of the object's colour), or a name of the fixed colours.
    """

    points: np.ndarray
    role: str = 'main'


@dataclass(frozen=True)
class Kind:
    """A kind of object that questions name: its parts in painting order, and a factor that makes all kinds equally large."""

    name: str
    parts: tuple[Part, ...]
    scale: float = 1.0


def _poly(role: str, *points: tuple[float, float]) -> Part:
    return Part(np.array(points, np.float64), role)


def _rect(role: str, x0: float, y0: float, x1: float, y1: float) -> Part:
    return _poly(role, (x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _arc(cx: float, cy: float, rx: float, ry: float, start: float = 0, end: float = 360, count: int = 28) -> np.ndarray:
    """(count, 2) points of an elliptical arc, from `start` to `end` degrees, clockwise on screen."""
    angles = np.deg2rad(np.linspace(start, end, count))
    return np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=1)


def _ellipse(role: str, cx: float, cy: float, rx: float, ry: float) -> Part:
    return Part(_arc(cx, cy, rx, ry)[:-1], role)


def _ring(role: str, cx: float, cy: float, outer: float, inner: float, start: float = 0, end: float = 360) -> Part:
    """A ring or a piece of one; the even-odd rule of fillPoly leaves a full ring's middle open."""
    return Part(np.concatenate([_arc(cx, cy, outer, outer, start, end), _arc(cx, cy, inner, inner, end, start)]), role)


def _band(role: str, points: np.ndarray, width: float) -> Part:
    """A line of the given width through (N, 2) points."""
    tangent = np.gradient(points, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    return Part(np.concatenate([points + normal * width / 2, (points - normal * width / 2)[::-1]]), role)


def _line(role: str, x0: float, y0: float, x1: float, y1: float, width: float) -> Part:
    return _band(role, np.array([(x0, y0), (x1, y1)], np.float64), width)


def _ball() -> tuple[Part, ...]:
    bulge = np.concatenate([_arc(0, 0, 0.22, 0.92, -90, 90, 14), _arc(0, 0, 0.62, 0.92, 90, -90, 14)])
    return (
        _ellipse('main', 0, 0, 0.92, 0.92),
        Part(bulge, 'dark'),
        Part(bulge * [-1, 1], 'dark'),
        _ellipse('light', -0.36, -0.48, 0.2, 0.15),
    )


def _book() -> tuple[Part, ...]:
    return (
        _rect('main', -0.74, -0.94, 0.74, 0.94),
        _poly('cream', (-0.7, 0.66), (0.74, 0.66), (0.74, 0.84), (-0.7, 0.84)),
        _rect('dark', -0.74, -0.94, -0.48, 0.94),
        _rect('light', -0.26, -0.64, 0.52, -0.42),
        _rect('light', -0.1, -0.26, 0.36, -0.14),
    )


def _bottle() -> tuple[Part, ...]:
    return (
        _poly(
            'main', (-0.17, -0.8), (0.17, -0.8), (0.17, -0.4), (0.3, -0.26), (0.44, -0.08), (0.44, 0.88), (0.36, 0.96),
            (-0.36, 0.96), (-0.44, 0.88), (-0.44, -0.08), (-0.3, -0.26), (-0.17, -0.4),
        ),
        _rect('dark', -0.23, -0.98, 0.23, -0.76),
        _rect('light', -0.44, 0.2, 0.44, 0.58),
        _rect('light', -0.3, -0.1, -0.2, 0.2),
    )  # fmt: skip


def _boat() -> tuple[Part, ...]:
    return (
        _rect('dark', -0.08, -0.96, 0.04, 0.4),
        _poly('main', (0.04, -0.92), (0.36, -0.5), (0.62, -0.1), (0.74, 0.3), (0.04, 0.3)),
        _poly('light', (-0.08, -0.7), (-0.08, 0.3), (-0.62, 0.3)),
        _poly('main', (-0.98, 0.33), (0.98, 0.33), (0.84, 0.64), (0.6, 0.86), (-0.6, 0.86), (-0.84, 0.64)),
        _poly('dark', (-0.78, 0.7), (0.78, 0.7), (0.6, 0.86), (-0.6, 0.86)),
    )


def _candle() -> tuple[Part, ...]:
    flame = np.array(
        [(0, -0.98), (0.12, -0.78), (0.17, -0.6), (0.1, -0.46), (0, -0.42), (-0.1, -0.46), (-0.17, -0.6), (-0.12, -0.78)]
    )
    return (
        _ring('main', 0.62, 0.6, 0.28, 0.12),
        _ellipse('main', -0.06, 0.74, 0.72, 0.22),
        _ellipse('dark', -0.06, 0.68, 0.5, 0.13),
        _rect('main', -0.32, -0.3, 0.22, 0.7),
        _poly(
            'light',
            (-0.32, -0.3),
            (0.22, -0.3),
            (0.22, -0.14),
            (0.06, -0.14),
            (0.02, 0.12),
            (-0.1, 0.12),
            (-0.14, -0.18),
            (-0.32, -0.18),
        ),
        _line('ink', -0.05, -0.46, -0.05, -0.28, 0.08),
        Part(flame + [-0.05, 0], 'flame'),
        Part((flame + [0, 0.6]) * 0.5 + [-0.05, -0.55], 'glow'),
    )


def _car() -> tuple[Part, ...]:
    return (
        _poly(
            'main', (-0.98, 0.4), (-0.98, 0.04), (-0.9, -0.08), (-0.6, -0.12), (-0.4, -0.52), (0.3, -0.52), (0.58, -0.1),
            (0.88, 0.0), (0.98, 0.14), (0.98, 0.4),
        ),
        _poly('glass', (-0.46, -0.12), (-0.32, -0.4), (-0.08, -0.4), (-0.08, -0.12)),
        _poly('glass', (0.04, -0.4), (0.24, -0.4), (0.42, -0.12), (0.04, -0.12)),
        _rect('dark', -0.98, 0.24, 0.98, 0.4),
        _ellipse('glow', 0.88, 0.14, 0.08, 0.07),
        _ellipse('tyre', -0.5, 0.4, 0.25, 0.25),
        _ellipse('tyre', 0.5, 0.4, 0.25, 0.25),
        _ellipse('steel', -0.5, 0.4, 0.11, 0.11),
        _ellipse('steel', 0.5, 0.4, 0.11, 0.11),
    )  # fmt: skip


def _chair() -> tuple[Part, ...]:
    return (
        _rect('dark', -0.26, 0.1, -0.08, 0.78),
        _rect('dark', 0.26, 0.1, 0.44, 0.78),
        _poly('main', (-0.7, -0.96), (-0.44, -0.96), (-0.36, 0.02), (0.7, 0.02), (0.7, 0.28), (-0.62, 0.28)),
        _rect('main', -0.62, 0.2, -0.42, 0.96),
        _rect('main', 0.5, 0.2, 0.7, 0.96),
        _poly('light', (-0.6, -0.8), (-0.52, -0.8), (-0.46, -0.2), (-0.54, -0.2)),
        _rect('light', -0.3, 0.07, 0.6, 0.14),
    )


def _clock() -> tuple[Part, ...]:
    return (
        _line('dark', -0.4, 0.5, -0.62, 0.94, 0.2),
        _line('dark', 0.4, 0.5, 0.62, 0.94, 0.2),
        _ellipse('main', -0.52, -0.64, 0.3, 0.27),
        _ellipse('main', 0.52, -0.64, 0.3, 0.27),
        _rect('dark', -0.09, -0.92, 0.09, -0.6),
        _ellipse('main', 0, 0.1, 0.78, 0.78),
        _ellipse('paper', 0, 0.1, 0.48, 0.48),
        _line('ink', 0, 0.14, 0, -0.26, 0.12),
        _line('ink', -0.03, 0.1, 0.28, 0.22, 0.12),
    )


def _cup() -> tuple[Part, ...]:
    return (
        _ring('main', 0.46, 0.08, 0.46, 0.25, -100, 100),
        _poly('main', (-0.84, -0.6), (0.52, -0.6), (0.42, 0.74), (0.3, 0.88), (-0.62, 0.88), (-0.74, 0.74)),
        _ellipse('main', -0.16, -0.6, 0.68, 0.2),
        _ellipse('dark', -0.16, -0.6, 0.54, 0.12),
        _poly('light', (-0.62, -0.26), (-0.5, -0.26), (-0.44, 0.56), (-0.54, 0.56)),
    )


def _fish() -> tuple[Part, ...]:
    return (
        _poly('dark', (0.3, 0.0), (0.98, -0.56), (0.84, 0.0), (0.98, 0.56)),
        _poly('dark', (-0.34, -0.34), (-0.02, -0.72), (0.3, -0.62), (0.24, -0.28)),
        _poly('dark', (-0.1, 0.36), (0.22, 0.66), (0.26, 0.24)),
        Part(np.concatenate([_arc(-0.2, 0.34, 0.92, 0.82, 212, 328), _arc(-0.2, -0.34, 0.92, 0.82, 32, 148)]), 'main'),
        _ellipse('paper', -0.6, -0.1, 0.13, 0.13),
        _ellipse('ink', -0.62, -0.1, 0.07, 0.07),
        _band('dark', _arc(-0.62, 0.0, 0.34, 0.4, -50, 50, 9), 0.08),
        _poly('light', (-0.12, -0.2), (0.22, -0.16), (0.22, -0.08), (-0.1, -0.1)),
    )


def _hammer() -> tuple[Part, ...]:
    return (
        _poly('main', (-0.15, -0.5), (0.15, -0.5), (0.2, 0.98), (-0.2, 0.98)),
        _poly('dark', (-0.18, 0.5), (0.18, 0.5), (0.2, 0.98), (-0.2, 0.98)),
        _poly(
            'main', (-0.9, -0.92), (-0.62, -0.92), (-0.56, -0.84), (0.2, -0.84), (0.56, -0.8), (0.94, -0.46), (0.5, -0.52),
            (0.2, -0.42), (-0.56, -0.42), (-0.62, -0.34), (-0.9, -0.34),
        ),
        _rect('dark', -0.9, -0.92, -0.66, -0.34),
        _rect('light', -0.5, -0.76, 0.24, -0.66),
    )  # fmt: skip


def _hat() -> tuple[Part, ...]:
    return (
        _ellipse('main', 0, 0.44, 0.98, 0.3),
        _poly(
            'main', (-0.58, 0.44), (-0.52, -0.3), (-0.4, -0.6), (-0.2, -0.68), (0, -0.56), (0.2, -0.68), (0.4, -0.6),
            (0.52, -0.3), (0.58, 0.44), (0.3, 0.54), (-0.3, 0.54),
        ),
        _poly('dark', (-0.56, 0.12), (0, 0.22), (0.56, 0.12), (0.58, 0.42), (0.3, 0.54), (-0.3, 0.54), (-0.58, 0.42)),
        _poly('light', (-0.38, -0.44), (-0.22, -0.5), (-0.26, -0.06), (-0.4, -0.06)),
    )  # fmt: skip


def _house() -> tuple[Part, ...]:
    return (
        _rect('dark', 0.4, -0.84, 0.64, -0.2),
        _rect('main', -0.72, -0.2, 0.72, 0.92),
        _poly('dark', (-0.98, -0.08), (0, -0.96), (0.98, -0.08)),
        _rect('door', -0.16, 0.36, 0.2, 0.92),
        _rect('glow', -0.58, 0.16, -0.3, 0.46),
        _rect('glow', 0.32, 0.16, 0.58, 0.46),
    )


def _key() -> tuple[Part, ...]:
    return (
        _rect('main', 0.42, 0.0, 0.62, 0.46),
        _rect('main', 0.76, 0.0, 0.98, 0.4),
        _rect('main', -0.2, -0.14, 0.98, 0.14),
        _ring('main', -0.5, 0, 0.48, 0.21),
        _ring('dark', -0.5, 0, 0.3, 0.21),
        _rect('light', -0.02, -0.08, 0.9, -0.01),
    )


def _kite() -> tuple[Part, ...]:
    sway = np.linspace(0, 1, 12)
    tail = np.stack([0.2 * np.sin(sway * 7), 0.38 + 0.6 * sway], axis=1)
    return (
        _band('dark', tail, 0.09),
        _poly('light', (0.06, 0.56), (0.4, 0.48), (0.4, 0.74)),
        _poly('light', (0.1, 0.6), (-0.2, 0.48), (-0.2, 0.74)),
        _poly('main', (0, -0.98), (0.72, -0.32), (0, 0.46), (-0.72, -0.32)),
        _poly('dark', (0, -0.98), (0.72, -0.32), (0, -0.32)),
        _poly('dark', (0, -0.32), (0, 0.46), (-0.72, -0.32)),
        _line('light', 0, -0.94, 0, 0.42, 0.05),
    )


def _umbrella() -> tuple[Part, ...]:
    dome = _arc(0, 0.06, 0.98, 0.94, 180, 360, 24)
    scallops = [_arc(cx, 0.06, 0.1635, 0.13, 0, -180, 7) for cx in (0.8175, 0.4905, 0.1635, -0.1635, -0.4905, -0.8175)]
    panel = np.concatenate([_arc(0, 0.06, 0.34, 0.94, -90, 0, 9), _arc(0, 0.06, 0.68, 0.94, 0, -90, 9)])
    return (
        _line('dark', 0, -0.98, 0, 0.72, 0.13),
        _ring('dark', 0.17, 0.72, 0.25, 0.1, 0, 180),
        Part(np.concatenate([dome, *scallops]), 'main'),
        Part(panel - [0, 0.1], 'dark'),
        Part((panel - [0, 0.1]) * [-1, 1], 'dark'),
        _ellipse('light', -0.1, -0.56, 0.1, 0.2),
    )


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind('ball', _ball(), 0.92),
        Kind('boat', _boat(), 1.12),
        Kind('book', _book(), 0.94),
        Kind('bottle', _bottle(), 1.16),
        Kind('candle', _candle(), 1.14),
        Kind('car', _car(), 1.14),
        Kind('chair', _chair(), 1.1),
        Kind('clock', _clock(), 0.96),
        Kind('cup', _cup(), 0.98),
        Kind('fish', _fish(), 1.12),
        Kind('hammer', _hammer(), 1.14),
        Kind('hat', _hat(), 1.08),
        Kind('house', _house(), 0.92),
        Kind('key', _key(), 1.24),
        Kind('kite', _kite(), 1.1),
        Kind('umbrella', _umbrella(), 1.06),
    )
}

HELD_OUT: dict[str, str] = {kind: list(COLOURS)[(3 * i + 1) % len(COLOURS)] for i, kind in enumerate(KINDS)}
"""For each kind, the colour that no training scene shows; each colour is held out for two kinds."""


def _shades(colour: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """The RGB triples by role, for a main colour (3,) in 0..255."""
    shades = {'main': colour, 'dark': colour * 0.68, 'light': colour + (255 - colour) * 0.5, 'outline': colour * 0.42}
    return {role: tuple(int(v) for v in np.rint(rgb)) for role, rgb in shades.items()} | _FIXED  # type: ignore - three numbers


def draw_sprite(kind: str, colour: str, size: str, rng: np.random.Generator) -> np.ndarray:
    """Draw an object with a small random rotation, stretch, mirroring and change of shade.

    Returns:
        (2h, 2w, 4) uint8 RGB and opacity (0 or 255), with h and w in image pixels (a cropped box of whole pixels).
    """
    turn, low_high = np.deg2rad(rng.uniform(-13, 13)), SIZES[size]
    half = rng.uniform(*low_high) * KINDS[kind].scale * SUPERSAMPLING
    stretch = np.array([rng.choice([-1, 1]) * rng.uniform(0.94, 1.06), rng.uniform(0.94, 1.06)])
    shades = _shades(np.clip(np.array(COLOURS[colour]) + rng.uniform(-9, 9, 3), 0, 255))
    matrix = half * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    side = 2 * int(np.ceil(half * 1.4 / 2) + 2)
    sprite = np.zeros((2 * side, 2 * side, 4), np.uint8)
    polygons = [
        np.rint((part.points * stretch @ matrix + side) * (1 << _SUBPIXEL_BITS)).astype(np.int32) for part in KINDS[kind].parts
    ]
    for polygon in polygons:
        cv2.polylines(sprite, [polygon], True, (*shades['outline'], 255), 3, cv2.LINE_8, _SUBPIXEL_BITS)
    for polygon, part in zip(polygons, KINDS[kind].parts, strict=True):
        cv2.fillPoly(sprite, [polygon], (*shades[part.role], 255), cv2.LINE_8, _SUBPIXEL_BITS)

    x, y, width, height = cv2.boundingRect(sprite[..., 3])
    x0, y0 = x - x % 2, y - y % 2
    return sprite[y0 : y + height + (y + height) % 2, x0 : x + width + (x + width) % 2].copy()
