"""A seeded synthetic set of nameable objects in ReasonSeg's layout, with a split to pretrain on."""

from __future__ import annotations

from lisa_mm.datasets.demo.kinds import COLOURS, HELD_OUT, KINDS, SIZES
from lisa_mm.datasets.demo.scenes import Scene, SceneObject, draw_scene
from lisa_mm.datasets.demo.writer import COUNTS, SEED, verify_splits, write_demo

__all__ = [
    'COLOURS',
    'COUNTS',
    'HELD_OUT',
    'KINDS',
    'SEED',
    'SIZES',
    'Scene',
    'SceneObject',
    'draw_scene',
    'verify_splits',
    'write_demo',
]
