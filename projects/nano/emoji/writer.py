"""Write scenes of emoji as a jsonl to pretrain on."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lisa_mm.datasets.run_lengths import encode_mask
from lisa_mm.errors import UserError
from lisa_mm.progress import progress

from ..numbers import check_at_least
from ..tokenizer import write_tokenizer
from .scenes import Pasted, draw_scene
from .stickers import Sticker, read_stickers

SEED = 11
SPLITS = ('train', 'val')
VOCAB_SIZE = 2400
COLOUR_ROWS, KIND_ROWS = 3, 1
"""Maximum per scene. Colours are learnt first, and nothing is learnt without them, because each name is too rare."""


def write_scenes(
    root: str | Path,
    packages: Sequence[str | Path],
    photos: str | Path | None = None,
    *,
    train: int = 8000,
    val: int = 200,
    seed: int = SEED,
    workers: int = 2,
) -> int:
    """Write `root/train.jsonl`, `root/val.jsonl` and `root/images` for `JsonlSegDataset`.

    A scene has one row per emoji with its name, and some for all of a colour or kind ("the red thing", "the animal"); ``val``
    has only names. `root/tokenizer` is a tokenizer for these words.

    Args:
        root: Folder, written beside it under a temporary name, then renamed; an existing one is refused.
        packages: See :func:`read_stickers`.
        photos: Folder of jpg files for backgrounds; None draws textures.
        train, val: Numbers of scenes.
        seed, workers: Seed of the scenes; number of processes.

    Returns:
        The number of distinct names.

    Raises:
        UserError: if a number is below 1, ``root`` exists, or ``photos`` has no jpg.
    """
    check_at_least(1, train=train, val=val, workers=workers)
    root = Path(root)
    if root.exists():
        raise UserError(f'{root} exists already: choose another folder or remove it.')
    grounds = sorted(Path(photos).rglob('*.jpg')) if photos else []
    if photos and not grounds:
        raise UserError(f'{photos} holds no .jpg file: give a folder of photographs, or none for drawn textures.')
    stickers = read_stickers(packages)
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f'.{root.name}.', dir=root.parent))
    try:
        (unfinished / 'images').mkdir()
        with multiprocessing.get_context('fork').Pool(workers) as pool:
            for split, count in zip(SPLITS, (train, val), strict=True):
                draw = partial(_write_scene, folder=unfinished, seed=seed, split=split, stickers=stickers, photos=grounds)
                scenes = progress(pool.imap(draw, range(count), chunksize=16), split, 'scene', total=count)
                with (unfinished / f'{split}.jsonl').open('w', encoding='utf-8') as file:
                    file.writelines(scenes)
        write_tokenizer(unfinished / 'tokenizer', unfinished / 'train.jsonl', VOCAB_SIZE)
        unfinished.chmod(0o755)
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(stickers)


def _write_scene(index: int, folder: Path, seed: int, split: str, stickers: Sequence[Sticker], photos: Sequence[Path]) -> str:
    """Store the image of a scene and return its lines."""
    cv2.setNumThreads(1)  # each worker draws its own scene
    image, pasted, rng = draw_scene(seed, split, index, stickers, photos)
    name = f'images/{split}_{index:06d}.jpg'
    Image.fromarray(image).save(folder / name, quality=92)
    rows = named_rows(pasted, rng, groups=split == 'train')
    return ''.join(json.dumps({'image': name, **row}, ensure_ascii=False) + '\n' for row in rows)


def named_rows(pasted: Sequence[Pasted], rng: np.random.Generator, *, groups: bool = True) -> list[dict[str, Any]]:
    """One row per object; with ``groups`` also rows for colours and kinds that some but not all objects have."""
    rows = []
    for one in pasted:
        name = one.sticker.name if rng.random() < 0.5 else f'the {one.sticker.name}'
        rows.append({'phrase': name, 'masks': [encode_mask(one.mask)]})
    if groups:
        colours = [{f'the {c} thing'} if (c := one.sticker.colours[one.drawing]) else set() for one in pasted]
        kinds = [{f'the {kind}' for kind in one.sticker.kinds} for one in pasted]
        rows += _group_rows(pasted, colours, rng, COLOUR_ROWS) + _group_rows(pasted, kinds, rng, KIND_ROWS)
    return rows


def _group_rows(pasted: Sequence[Pasted], phrases: list[set[str]], rng: np.random.Generator, most: int) -> list[dict[str, Any]]:
    """Up to ``most`` rows for phrases that some but not all objects have, with the mask of all that do."""
    rows = []
    for phrase in rng.permutation(sorted(set().union(*phrases))).tolist():
        having = [one.mask for one, own in zip(pasted, phrases, strict=True) if phrase in own]
        if len(having) < len(pasted) and len(rows) < most:
            rows.append({'phrase': phrase, 'masks': [encode_mask(np.maximum.reduce(having))]})
    return rows
