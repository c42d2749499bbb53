"""Scenes of the demo set: objects, positions and pixels, each a pure function of (seed, split, index)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from .backgrounds import draw_background
from .kinds import COLOURS, HELD_OUT, KINDS, SIZES, SUPERSAMPLING, draw_sprite

REASONING_SPLITS = ('train', 'val', 'test')
PRETRAIN_SPLITS = ('pretrain', 'pretrain_val')
HELD_OUT_SPLITS = ('val', 'test')
MIN_OBJECTS, MAX_OBJECTS = 6, 9
MIN_VISIBLE = 0.62
"""Minimum share of an object's supersampled pixels that later objects leave visible."""


@dataclass(frozen=True)
class ObjectSpec:
    """An object's kind, colour and size; no two objects of a scene have equal specs."""

    kind: str
    colour: str
    size: str

    @property
    def name(self) -> str:
        return f'{self.size} {self.colour} {self.kind}'


@dataclass(frozen=True)
class SceneObject(ObjectSpec):
    """An object of a drawn scene.

    Args:
        mask: (H, W) uint8, 1 where the object is visible.
        visible: Share of the object not covered by later objects, 0..1.
        centre: x of the centre of the object's box, in pixels.
    """

    mask: np.ndarray
    visible: float
    centre: float


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: In painting order: later objects cover earlier ones.
        target: Index of the object asked about; None for pretraining scenes.
        is_sentence: Whether the target is asked about implicitly.
    """

    split: str
    index: int
    image: np.ndarray
    objects: list[SceneObject]
    target: int | None
    is_sentence: bool


def scene_rng(seed: int, split: str, index: int, stream: int = 0) -> np.random.Generator:
    """The generator of a scene; stream 0 is for the drawing, others for the texts."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index, stream])


def plan_target(split: str, index: int) -> tuple[str | None, bool, bool]:
    """The target's kind, whether the question is implicit, and whether the target shows a held-out combination.

    Kinds alternate, and over four rounds of val and test each kind meets all four cases.
    """
    if split in PRETRAIN_SPLITS:
        return None, False, False
    kind = list(KINDS)[index % len(KINDS)]
    if split not in HELD_OUT_SPLITS:
        return kind, index * 3 % 5 < 3, False
    case = (index + index // len(KINDS)) % 4
    return kind, case % 2 == 0, case < 2


def _pick(rng: np.random.Generator, items: list[str]) -> str:
    return items[rng.integers(len(items))]


def _allowed_colours(split: str, kind: str) -> list[str]:
    return [c for c in COLOURS if split in HELD_OUT_SPLITS or HELD_OUT[kind] != c]


def _twin_of(rng: np.random.Generator, spec: ObjectSpec, split: str, other_colour: bool) -> ObjectSpec:
    """Another object of the same kind, in another colour or else the other size."""
    if not other_colour and rng.random() < 0.35:
        return ObjectSpec(spec.kind, spec.colour, next(s for s in SIZES if s != spec.size))
    colours = [c for c in _allowed_colours(split, spec.kind) if c != spec.colour]
    return ObjectSpec(spec.kind, _pick(rng, colours), _pick(rng, list(SIZES)))


def choose_objects(rng: np.random.Generator, split: str, index: int) -> tuple[list[ObjectSpec], bool]:
    """The objects of a scene, the target (if any) first, then twins, and whether the question is implicit."""
    kind, is_sentence, held_out = plan_target(split, index)
    kinds = [str(k) for k in rng.permutation(list(KINDS))]
    if kind is not None:
        kinds.remove(kind)
        kinds.insert(0, kind)

    def draw(kind: str) -> ObjectSpec:
        return ObjectSpec(kind, _pick(rng, _allowed_colours(split, kind)), _pick(rng, list(SIZES)))

    specs = [draw(kinds[0])]
    if held_out:
        specs = [ObjectSpec(kinds[0], HELD_OUT[kinds[0]], specs[0].size)]
    elif split in HELD_OUT_SPLITS:
        seen = [c for c in COLOURS if c != HELD_OUT[kinds[0]]]
        specs = [ObjectSpec(kinds[0], _pick(rng, seen), specs[0].size)]
    rest = [draw(k) for k in kinds[1:MAX_OBJECTS]]
    count = int(rng.integers(MIN_OBJECTS + 1, MAX_OBJECTS + 1))
    if rng.random() < 0.55:
        if rng.random() < 0.6:
            # Only another colour keeps an implicit question answerable: "the red thing that ...".
            specs.append(_twin_of(rng, specs[0], split, other_colour=is_sentence))
        else:
            specs += [rest[0], _twin_of(rng, rest[0], split, other_colour=False)]
            rest = rest[1:]
        if rng.random() < 0.3:
            specs += [rest[0], _twin_of(rng, rest[0], split, other_colour=False)]
            rest = rest[1:]
    return (specs + rest)[: max(count, len(specs))], is_sentence


class _Layout:
    """Sprites stacked on a supersampled canvas."""

    def __init__(self, height: int, width: int, count: int):
        self.owner = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        self.full = np.zeros(count + 1, np.int64)
        self.visible = np.zeros(count + 1, np.int64)
        self.corners: list[tuple[int, int]] = []

    def place(self, rng: np.random.Generator, sprites: list[np.ndarray]) -> bool:
        """Place the next sprite at random, every fourth one over an earlier one; False if there is no room."""
        number = len(self.corners) + 1
        sprite = sprites[number - 1]
        opaque = sprite[..., 3] > 0
        room = np.array(self.owner.shape) // SUPERSAMPLING - np.array(opaque.shape) // SUPERSAMPLING - 2
        if (room < 1).any():
            return False
        leaning = number > 1 and rng.random() < 0.25
        for attempt in range(60):
            if leaning and attempt < 20:
                other = int(rng.integers(number - 1))
                reach = (np.array(sprites[other].shape[:2]) + opaque.shape) / (2 * SUPERSAMPLING)
                angle = rng.uniform(0, 2 * np.pi)
                middle = np.array(self.corners[other]) + np.array(sprites[other].shape[:2]) / (2 * SUPERSAMPLING)
                offset = reach * rng.uniform(0.5, 0.8) * [np.sin(angle), np.cos(angle)]
                corner = np.rint(middle + offset - np.array(opaque.shape) / (2 * SUPERSAMPLING)).astype(int)
                if (corner < 1).any() or (corner > room).any():
                    continue
            else:
                corner = 1 + rng.integers(room)
            y, x = (int(v) for v in corner * SUPERSAMPLING)
            region = self.owner[y : y + opaque.shape[0], x : x + opaque.shape[1]]
            covered = np.bincount(region[opaque], minlength=len(self.full))
            covered[0] = 0
            wants_overlap = leaning and attempt < 20
            if wants_overlap != bool(covered.any()) and attempt < 50:
                continue
            if (self.visible - covered < MIN_VISIBLE * self.full).any():
                continue
            region[opaque] = number
            self.visible -= covered
            self.full[number] = self.visible[number] = int(opaque.sum())
            self.corners.append((y // SUPERSAMPLING, x // SUPERSAMPLING))
            return True
        return False


def _lay_out(
    rng: np.random.Generator, specs: list[ObjectSpec], height: int, width: int
) -> tuple[list[ObjectSpec], list[np.ndarray], _Layout]:
    """Specs and sprites in painting order, and their layout. If space is short, objects at the list's end are left out."""
    sprites = [draw_sprite(s.kind, s.colour, s.size, rng) for s in specs]
    for attempt in range(60):
        count = max(MIN_OBJECTS, len(specs) - attempt // 3)
        order = rng.permutation(count)
        ordered = [sprites[i] for i in order]
        layout = _Layout(height, width, count)
        if all(layout.place(rng, ordered) for _ in order):
            return [specs[i] for i in order], ordered, layout
    raise RuntimeError(f'no layout of {MIN_OBJECTS} objects found in {width}x{height} pixels')


def draw_scene(seed: int, split: str, index: int) -> Scene:
    """Draw scene `index` of a split: one of `REASONING_SPLITS` or `PRETRAIN_SPLITS`."""
    rng = scene_rng(seed, split, index)
    long_side, short_side = int(rng.integers(176, 209)), int(rng.integers(128, 161))
    height, width = (short_side, long_side) if rng.random() < 0.6 else (long_side, short_side)
    specs, is_sentence = choose_objects(rng, split, index)
    background = draw_background(rng, height, width)
    ordered, sprites, layout = _lay_out(rng, specs, height, width)

    canvas = background.repeat(SUPERSAMPLING, axis=0).repeat(SUPERSAMPLING, axis=1)
    for (y, x), sprite in zip(layout.corners, sprites, strict=True):
        y, x = y * SUPERSAMPLING, x * SUPERSAMPLING
        region = canvas[y : y + sprite.shape[0], x : x + sprite.shape[1]]
        np.copyto(region, sprite[..., :3], where=sprite[..., 3:] > 0)
    image = (_quarters(canvas.astype(np.uint16)).sum(axis=0) + 2) // 4
    image = np.clip(image.astype(np.int16) + rng.integers(-3, 4, image.shape, dtype=np.int16), 0, 255).astype(np.uint8)

    # The third smallest of a pixel's four owners: an object owns what it fills at least half, before the background.
    owner = np.sort(_quarters(layout.owner), axis=0)[2]
    objects = [
        SceneObject(
            spec.kind,
            spec.colour,
            spec.size,
            mask=(owner == number).astype(np.uint8),
            visible=float(layout.visible[number] / layout.full[number]),
            centre=layout.corners[number - 1][1] + sprites[number - 1].shape[1] / (2 * SUPERSAMPLING),
        )
        for number, spec in enumerate(ordered, 1)
    ]
    target = None if split in PRETRAIN_SPLITS else ordered.index(specs[0])
    return Scene(split, index, image, objects, target, is_sentence)


def _quarters(canvas: np.ndarray) -> np.ndarray:
    """(4, H, W, ...): the four supersampled pixels of every pixel of a (2H, 2W, ...) canvas."""
    return np.stack([canvas[y::SUPERSAMPLING, x::SUPERSAMPLING] for y in range(SUPERSAMPLING) for x in range(SUPERSAMPLING)])
