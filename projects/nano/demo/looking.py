"""Questions that can only be answered by looking for the thing that they name: its colour, its kind, whether it is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kinds import COLOURS, HELD_OUT, KINDS
from .questions import explicit_phrases
from .referring import absent_names
from .scenes import Scene, scene_rng

_STREAM = 5
QUESTIONS = 4
"""Number of questions of each form per scene, as far as it has them; colours and kinds get one more, about what is not there."""


def looking_rows(scene: Scene, seed: int, image: str) -> list[dict[str, Any]]:
    """Rows for `JsonlSegDataset`: a phrase with its mask for each object, as many phrases for what is not there, and questions.

    The questions are "What colour is the boat?", "What is red?" and "Is there a red boat?", with answers of one or two words.
    Half of those about presence and some of the others name what is not there. No row names a held-out combination.

    Args:
        scene: A scene of a pretraining split.
        seed: The demo's.
        image: Path of its image, for the rows.
    """
    from lisa_mm.datasets.run_lengths import encode_mask  # imports torch, which the other splits do not need

    rng = scene_rng(seed, scene.split, scene.index, _STREAM)
    rows: list[dict[str, Any]] = []
    for obj in scene.objects:
        phrases = explicit_phrases(scene.objects, obj)
        rows.append({'image': image, 'phrase': phrases[rng.integers(len(phrases))], 'masks': [encode_mask(obj.mask)]})
    absent = absent_names(scene.objects, rng, each=4, held_out=False)
    chosen = [absent[i] for i in rng.permutation(len(absent))[: len(scene.objects)]]
    rows += [{'image': image, 'phrase': phrase, 'masks': []} for phrase in chosen]
    asked = _colours(scene, rng) + _kinds(scene, rng) + _presence(scene, rng)
    return rows + [{'image': image, 'question': question, 'answer': answer, 'masks': []} for question, answer in asked]


def _colours(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The colour of kinds that a scene shows once, or not at all."""
    kinds = [o.kind for o in scene.objects]
    once = [(f'What colour is the {o.kind}?', f'{o.colour}.') for o in scene.objects if kinds.count(o.kind) == 1]
    never = [(f'What colour is the {kind}?', 'none.') for kind in KINDS if kind not in kinds]
    return _some(once, QUESTIONS, rng) + _some(never, 1, rng)


def _kinds(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The kind of what has a colour that a scene shows once, or not at all."""
    colours = [o.colour for o in scene.objects]
    once = [(f'What is {o.colour}?', f'the {o.kind}.') for o in scene.objects if colours.count(o.colour) == 1]
    never = [(f'What is {colour}?', 'nothing.') for colour in COLOURS if colour not in colours]
    return _some(once, QUESTIONS, rng) + _some(never, 1, rng)


def _presence(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Whether a kind of a colour is there: combinations of the scene, and its kinds in colours that they do not have."""
    shown = sorted({(o.colour, o.kind) for o in scene.objects})
    other = [
        (colour, kind) for _, kind in shown for colour in COLOURS if (colour, kind) not in shown and HELD_OUT[kind] != colour
    ]
    asked = [(pair, 'yes.') for pair in _some(shown, QUESTIONS // 2, rng)] + [
        (pair, 'no.') for pair in _some(other, QUESTIONS // 2, rng)
    ]
    return [(f'Is there a {colour} {kind}?', answer) for (colour, kind), answer in asked]


def _some(items: list[Any], count: int, rng: np.random.Generator) -> list[Any]:
    return [items[i] for i in rng.permutation(len(items))[:count]]
