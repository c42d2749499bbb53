"""The demo set's records of a scene: polygons, ReasonSeg items, explanations and pretraining rows."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np

from .questions import caption, explanation, explicit_phrases, simple_question, texts_of
from .scenes import Scene, scene_rng

_TEXT_STREAM = 1


def mask_to_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons that `cv2.polylines` and `cv2.fillPoly` turn back into the mask.

    A part with holes becomes one polygon: its outline follows a zero-width bridge to each hole and back, and
    fillPoly's even-odd rule leaves the holes open.

    Args:
        mask: (H, W) uint8 of 0 and 1.

    Returns:
        A (N, 2) int array of x and y in pixels for each part, N >= 3.
    """
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    plain, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = {_outline_key(c): c[:, 0] for c in plain}
    polygons = []
    for i, contour in enumerate(contours):
        if tree[0][i][3] >= 0:
            continue
        holes = [contours[j][:, 0] for j in range(len(contours)) if tree[0][j][3] == i]
        polygon = _bridge_holes(contour[:, 0], holes) if holes else corners.get(_outline_key(contour), contour[:, 0])
        # A speck of one or two pixels repeats its points, because readers expect at least three.
        polygons.append(np.resize(polygon, (3, 2)) if len(polygon) < 3 else polygon)
    return polygons


def _outline_key(contour: np.ndarray) -> tuple[int, int]:
    x, y = contour[0, 0]
    return int(x), int(y)


def _bridge_holes(outline: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One closed polygon (N, 2) along the outline and all holes, each joined at the nearest pair of points."""
    holes = list(holes)
    while holes:
        gaps = [((outline[:, None] - hole[None]) ** 2).sum(axis=2) for hole in holes]
        nearest = int(np.argmin([gap.min() for gap in gaps]))
        hole = holes.pop(nearest)
        at, start = np.unravel_index(gaps[nearest].argmin(), gaps[nearest].shape)
        loop = np.roll(hole, -start, axis=0)
        outline = np.concatenate([outline[: at + 1], loop, loop[:1], outline[at:]])
    return outline


def _shapes(mask: np.ndarray, image_name: str, name: str) -> list[dict[str, Any]]:
    return [
        {
            'label': 'target',
            'labels': ['target'],
            'shape_type': 'polygon',
            'image_name': image_name,
            'points': polygon.tolist(),
            'group_id': None,
            'group_ids': [None],
            'group_names': [name],
            'flags': {},
        }
        for polygon in mask_to_polygons(mask)
    ]


def reasoning_item(scene: Scene, seed: int, image_name: str) -> dict[str, Any]:
    """The json of a ReasonSeg item, with our keys `name` and `others`, the other objects as items of the same form."""
    rng = scene_rng(seed, scene.split, scene.index, _TEXT_STREAM)
    items = []
    for i, obj in enumerate(scene.objects):
        wants_sentence = scene.is_sentence if i == scene.target else bool(rng.random() < 0.5)
        texts, is_sentence = texts_of(scene.objects, obj, wants_sentence, rng)
        shapes = _shapes(obj.mask, image_name, obj.name)
        items.append({'text': texts, 'is_sentence': is_sentence, 'shapes': shapes, 'name': obj.name})
    target = items.pop(scene.target)  # pyright: ignore[reportArgumentType] - it has one
    return {**target, 'others': items}


def explanation_record(scene: Scene, item: dict[str, Any], image_name: str, json_name: str) -> dict[str, str]:
    """A row of ReasonSeg's explanatory file."""
    sentence = explanation(scene.objects[scene.target])  # type: ignore - a scene with an explanation has a target
    return {'image': image_name, 'query': item['text'][0], 'outputs': sentence, 'json': json_name}


def pretraining_rows(scene: Scene, seed: int, image: str) -> list[dict[str, Any]]:
    """A row for each object, with an explicit phrase and its mask, then two questions about the whole scene."""
    from lisa_mm.datasets.run_lengths import encode_mask  # imports torch, which the other splits do not need

    rng = scene_rng(seed, scene.split, scene.index, _TEXT_STREAM)
    rows: list[dict[str, Any]] = []
    for obj in scene.objects:
        phrases = explicit_phrases(scene.objects, obj)
        rows.append({'image': image, 'phrase': phrases[rng.integers(len(phrases))], 'masks': [encode_mask(obj.mask)]})
    for question, answer in (caption(scene.objects, rng), simple_question(scene.objects, rng)):
        rows.append({'image': image, 'question': question, 'answer': answer, 'masks': []})
    return rows


def to_json(record: object) -> str:
    return json.dumps(record, ensure_ascii=False)
