"""The demo's scenes as refCOCO, gRefCOCO and FP-RefCOCO: phrases for one object, for several, and for what is not there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .kinds import COLOURS, HELD_OUT, KINDS, SIZES
from .questions import IMPLICIT, NOUNS, explicit_phrases, implicit_phrases, plural
from .scenes import HELD_OUT_SPLITS, ObjectSpec, Scene, plan_target, scene_rng
from .several import several_rows

IMAGES = 'images/mscoco/images/train2014'
SINGLES = 3
"""Number of objects of a scene that gRefCOCO's val and test ask for one by one; its train asks for all."""

ABSENT = {'train': 4, 'val': 1, 'test': 1}
"""Number of phrases of each form for what is not there. A row without a mask costs little in training."""

DESCRIBED = {'train': 0.6, 'val': 0.3, 'test': 0.3}
"""Share of gRefCOCO's single objects that a description names; in training as many as in ReasonSeg."""

_STREAM, _PREMISES = 2, 3
_FIRST_ID = {'train': 100_000, 'val': 200_000, 'test': 300_000}
_CATEGORIES = {kind: number for number, kind in enumerate(KINDS, 1)}


@dataclass(frozen=True)
class Referring:
    """What a scene adds to the files below `refer_seg`.

    Args:
        image: Its entry in `instances.json`.
        annotations: One per object, in painting order.
        refs: Entries of refCOCO's `refs(unc).p`.
        grefs: Entries of gRefCOCO's `grefs(unc).json`.
        false_premises: Entries of FP-RefCOCO's `refs(berkeley_exclude_unified).p`; none in training.
        several: Rows of MUSE with their split, see :func:`.several.several_rows`.
    """

    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    refs: list[dict[str, Any]]
    grefs: list[dict[str, Any]]
    false_premises: list[dict[str, Any]]
    several: list[tuple[str, dict[str, Any]]]


def absent_colour(objects: Sequence[ObjectSpec], kind: str, rng: np.random.Generator, *, held_out: bool) -> str:
    """A phrase for a kind in a colour that the scene does not show it in; for `held_out` see :func:`absent_phrases`."""
    shown = {o.colour for o in objects if o.kind == kind}
    colours = [c for c in COLOURS if c not in shown and (held_out or HELD_OUT[kind] != c)]
    return f'the {colours[rng.integers(len(colours))]} {kind}'


def absent_names(objects: Sequence[ObjectSpec], rng: np.random.Generator, *, each: int, held_out: bool) -> list[str]:
    """Names that fit no object: a kind; a colour and a kind; a kind of the scene in another colour.

    Arguments as in :func:`absent_phrases`.
    """
    present = sorted({o.kind for o in objects})
    absent = [k for k in KINDS if k not in present]

    def coloured(kind: str) -> str:
        return sized(absent_colour(objects, kind, rng, held_out=held_out))

    def sized(name: str) -> str:
        sizes = ('', '', *(f'{size} ' for size in SIZES))
        return f'the {sizes[rng.integers(len(sizes))]}{name.removeprefix("the ")}'

    names = [sized(kind) for kind in _drawn(absent, each, rng)]
    for kinds in (absent, present):
        names += [coloured(kind) for kind in _drawn(kinds, each, rng)]
    return names


def absent_phrases(objects: Sequence[ObjectSpec], rng: np.random.Generator, *, each: int, held_out: bool) -> list[str]:
    """Phrases that fit no object: the forms of :func:`absent_names`; a description; "all cups".

    Half of the names have a size, as those of objects do: the words alone must not tell what is there.

    Args:
        objects: The scene's.
        rng: Source of all randomness.
        each: Number of each of these five, as far as the scene allows.
        held_out: Whether phrases may name the combinations that training never shows. If training named them, it would name
            them only as absent.
    """
    absent = [k for k in KINDS if all(o.kind != k for o in objects)]

    def described(kind: str) -> str:
        texts = [text for text in IMPLICIT[kind] if text.startswith('the ')]
        return texts[rng.integers(len(texts))].format(NOUNS[rng.integers(len(NOUNS))])

    phrases = absent_names(objects, rng, each=each, held_out=held_out)
    phrases += [described(kind) for kind in _drawn(absent, each, rng)]
    return phrases + [f'all {plural(kind)}' for kind in _drawn(absent, each, rng)]


def _drawn(kinds: list[str], count: int, rng: np.random.Generator) -> list[str]:
    return [kinds[i] for i in rng.permutation(len(kinds))[:count]]


def union_phrases(objects: Sequence[ObjectSpec], rng: np.random.Generator) -> list[tuple[str, list[int]]]:
    """Phrases for several objects with their places: two that are named, all of a kind, all of a colour, as far as there are."""
    one, two = (int(i) for i in rng.permutation(len(objects))[:2])
    phrases = [[*explicit_phrases(objects, objects[i])] for i in (one, two)]
    unions = [(' and '.join(names[rng.integers(len(names))] for names in phrases), sorted((one, two)))]
    for attribute, form in (('kind', 'all {}'), ('colour', 'all {} objects')):
        values = [getattr(o, attribute) for o in objects]
        if shared := sorted({v for v in values if values.count(v) > 1}):
            value = shared[rng.integers(len(shared))]
            name = plural(value) if attribute == 'kind' else value
            unions.append((form.format(name), [i for i, v in enumerate(values) if v == value]))
    return unions


def single_phrase(objects: Sequence[ObjectSpec], spec: ObjectSpec, rng: np.random.Generator, described_share: float) -> str:
    """A phrase for one object: its name or, with this probability, a description if one is unambiguous."""
    described = implicit_phrases(objects, spec, rng, len(IMPLICIT[spec.kind])) if rng.random() < described_share else []
    named = [text for text in described if text.startswith('the ')] or explicit_phrases(objects, spec)
    return named[rng.integers(len(named))]


def referring(scene: Scene, seed: int, file_name: str) -> Referring:
    """All entries of a scene. Images of test are testB if their target shows a held-out combination, otherwise testA."""
    rng = scene_rng(seed, scene.split, scene.index, _STREAM)
    held_out = scene.split in HELD_OUT_SPLITS
    height, width = scene.image.shape[:2]
    number = _FIRST_ID[scene.split] + scene.index
    ids = [number * 100 + place for place in range(len(scene.objects))]
    kinds = [_CATEGORIES[o.kind] for o in scene.objects]
    split = scene.split if scene.split != 'test' else f'test{"B" if plan_target("test", scene.index)[2] else "A"}'
    common = {'image_id': number, 'split': split, 'file_name': file_name}

    def entry(place: int, ann_id: Any, category_id: Any, texts: Sequence[str | dict[str, Any]]) -> dict[str, Any]:
        ref_id = number * 100 + place
        said = [{'sent': text} if isinstance(text, str) else text for text in texts]
        sentences = [{'sent_id': ref_id * 10 + i, **sentence} for i, sentence in enumerate(said)]
        found = {**common, 'ref_id': ref_id, 'ann_id': ann_id, 'category_id': category_id}
        return {**found, 'sent_ids': [s['sent_id'] for s in sentences], 'sentences': sentences}

    refs = [entry(i, ids[i], kinds[i], explicit_phrases(scene.objects, spec)[:3]) for i, spec in enumerate(scene.objects)]
    asked = range(len(ids)) if scene.split == 'train' else sorted(rng.permutation(len(ids))[:SINGLES].tolist())
    targets = [(single_phrase(scene.objects, scene.objects[i], rng, DESCRIBED[scene.split]), [i]) for i in asked]
    targets += union_phrases(scene.objects, rng)
    targets += [(text, []) for text in absent_phrases(scene.objects, rng, each=ABSENT[scene.split], held_out=held_out)]
    grefs = [
        {
            **entry(place, [ids[i] for i in places] or [-1], [kinds[i] for i in places] or [-1], [text]),
            'no_target': not places,
        }
        for place, (text, places) in enumerate(targets)
    ]
    premises = scene_rng(seed, scene.split, scene.index, _PREMISES)
    false_premises = [
        entry(i, ids[i], kinds[i], _true_and_false(scene.objects, spec, premises))
        for i, spec in enumerate(scene.objects)
        if held_out
    ]
    annotations = [_annotation(key, kind, number, o.mask) for key, kind, o in zip(ids, kinds, scene.objects, strict=True)]
    image = {'id': number, 'file_name': file_name, 'height': height, 'width': width}
    several = several_rows(scene, seed, image, annotations)
    return Referring(image, annotations, refs, grefs, false_premises, several)


def _true_and_false(objects: Sequence[ObjectSpec], spec: ObjectSpec, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Two sentences of FP-RefCOCO: a phrase for the object, and one that gives its kind a colour which none of it has here."""
    names = explicit_phrases(objects, spec)
    wrong = absent_colour(objects, spec.kind, rng, held_out=True)
    right = {'sent': names[rng.integers(len(names))], 'is_false_premise': False}
    return [right, {'sent': wrong, 'is_false_premise': True, 'gt_sent': f'the {spec.colour} {spec.kind}'}]


def _annotation(number: int, category: int, image: int, mask: np.ndarray) -> dict[str, Any]:
    """An entry of `instances.json`; an RLE, because polygons of COCO lose the outer pixels."""
    run_lengths: Any = coco_mask.encode(np.asfortranarray(mask))  # counts is bytes, which the stub does not say
    segmentation = {'size': list(mask.shape), 'counts': run_lengths['counts'].decode()}
    common = {'id': number, 'image_id': image, 'category_id': category, 'iscrowd': 0}
    return {**common, 'segmentation': segmentation, 'area': int(mask.sum()), 'bbox': coco_mask.toBbox(run_lengths).tolist()}


def write_referring(folder: Path, scenes: Sequence[Referring]) -> None:
    """Write the three sets below `folder` (`refer_seg`); the folder of images is a link to ReasonSeg's beside it."""
    instances = {
        'images': [scene.image for scene in scenes],
        'annotations': [annotation for scene in scenes for annotation in scene.annotations],
        'categories': [{'id': number, 'name': kind} for kind, number in _CATEGORIES.items()],
    }
    files = {
        'refcoco/refs(unc).p': [ref for scene in scenes for ref in scene.refs],
        'grefcoco/grefs(unc).json': [ref for scene in scenes for ref in scene.grefs],
        'fprefcoco/refs(berkeley_exclude_unified).p': [ref for scene in scenes for ref in scene.false_premises],
    }
    for name, refs in files.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(refs, protocol=2) if path.suffix == '.p' else json.dumps(refs).encode())
        (path.parent / 'instances.json').write_text(json.dumps(instances) + '\n', encoding='utf-8')
    images = folder / IMAGES
    images.parent.mkdir(parents=True)
    images.symlink_to(Path(*['..'] * len(images.relative_to(folder).parts), 'reason_seg', 'ReasonSeg'))
