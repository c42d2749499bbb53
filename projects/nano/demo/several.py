"""The demo's scenes as MUSE: one question about several objects, and an answer with a `{seg}` for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .questions import explicit_phrases
from .scenes import Scene, scene_rng

FOLDER = 'muse'
FEW, MANY = (2, 3), (4, 6)
"""Numbers of objects of a question: MUSE's test_less has at most 3, its test_many more."""

_STREAM = 4


def several_rows(
    scene: Scene, seed: int, image: dict[str, Any], annotations: Sequence[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """A row about few objects of a scene, and one about many if it has so many.

    Args:
        scene: The scene.
        seed: The demo's.
        image: Its entry in `instances.json`.
        annotations: One per object, in painting order.

    Returns:
        MUSE's split and the row.
    """
    rng = scene_rng(seed, scene.split, scene.index, _STREAM)
    rows = []
    for suffix, (least, most) in (('less', FEW), ('many', MANY)):
        if len(scene.objects) < least:
            continue
        count = int(rng.integers(least, min(most, len(scene.objects)) + 1))
        places = [int(i) for i in rng.permutation(len(scene.objects))[:count]]
        names = [explicit_phrases(scene.objects, scene.objects[i])[0] for i in places]
        targets = [
            {'segmentation': annotations[i]['segmentation'], 'bbox': annotations[i]['bbox'], 'rephrased_name': name}
            for i, name in zip(places, names, strict=True)
        ]
        row = {key: image[key] for key in ('file_name', 'height', 'width')}
        row |= {'ann_list': [], 'questions': [f'Where are {_listed(names)}?'], 'answers': [targets]}
        row |= {'text_answers': [f'{_listed([f"{name} {{seg}}" for name in names])}.']}
        rows.append((f'test_{suffix}' if scene.split == 'test' else scene.split, row))
    return rows


def _listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return f'{", ".join(names[:-1])} and {names[-1]}'


def write_several(folder: Path, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Write `muse_<split>.json` for each split that has rows; the images are those of `refer_seg`."""
    folder.mkdir(parents=True)
    for split in dict.fromkeys(split for split, _ in rows):
        own = [row for of, row in rows if of == split]
        (folder / f'muse_{split}.json').write_text(json.dumps(own) + '\n', encoding='utf-8')
