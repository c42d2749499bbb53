"""Results of two made-up models on drawn pictures, with rows whose counts are true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from lisa_mm.apis.benchmarking import describe
from lisa_mm.evaluation import SegIoUMetric
from lisa_mm.evaluation.judged import Judged, as_run_lengths, count
from lisa_mm.evaluation.results import Results, Run, SharedImages, rows_folder, write_results, write_rows

SHAPES = ('disc', 'square', 'bar')


@dataclass
class Asked:
    """A question with its target mask (H, W); an empty one where nothing is there."""

    image: Path
    number: int
    question: str
    target: np.ndarray


def draw_pictures(folder: Path, number: int = 10, size: tuple[int, int] = (180, 240), seed: int = 0) -> list[Asked]:
    """Pictures of a disc, a square and a bar on a noisy ground; four questions each, the last one about nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    height, width = size
    asked = []
    for n in range(number):
        picture = np.full((height, width, 3), rng.integers(90, 190, 3), np.uint8)
        masks = []
        for shape in SHAPES:
            mask = np.zeros(size, np.uint8)
            scale = float(np.exp(rng.uniform(np.log(3), np.log(height / 4))))
            x, y = (int(value) for value in rng.uniform((20, 20), (width - 20, height - 20)))
            if shape == 'disc':
                cv2.circle(mask, (x, y), max(2, int(scale)), 1, -1)
            else:
                wide, high = (scale, scale) if shape == 'square' else (2 * scale, scale / 2)
                cv2.rectangle(mask, (int(x - wide), int(y - high)), (int(x + wide), int(y + high)), 1, -1)
            picture[mask > 0] = rng.integers(0, 255, 3)
            masks.append(mask)
        noisy = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        path = folder / f'{n}.jpg'
        Image.fromarray(noisy).save(path)
        asked += [
            Asked(path, k, f'Where is the {shape}?', mask) for k, (shape, mask) in enumerate(zip(SHAPES, masks, strict=True))
        ]
        asked.append(Asked(path, 3, 'Where is the dog?', np.zeros(size, np.uint8)))
    return asked


def answer(asked: Asked, shift: int, *, said: bool, silent: bool = False) -> Judged:
    """The answer of a model whose masks are the target moved to the right.

    Args:
        asked: The question.
        shift: Pixels.
        said: Whether the model said its answer.
        silent: Whether it says that nothing is there.
    """
    mask = np.roll(asked.target, shift, axis=1)
    if not asked.target.any() and not silent:
        mask[:30, :30] = 1  # it sees something where nothing is
    predicted = torch.from_numpy(np.stack([mask]) > 0)
    predicted = predicted[:0] if silent and said else predicted & (not silent)
    targets = torch.from_numpy(np.stack([asked.target]))
    text = ('[REJ]' if silent else 'It is [SEG].') if said else None
    return Judged(
        sample_id=asked.image.stem,
        img_path=str(asked.image),
        row=asked.number,
        turn=0,
        question=asked.question,
        answer=text,
        facts={},
        size=(asked.target.shape[0], asked.target.shape[1]),
        masks=as_run_lengths(predicted),
        target_masks=as_run_lengths(targets),
        **count(predicted, targets),
    )


def run_of(benchmark: str, rows: Sequence[Judged], /, *, title: str = '', **more: Any) -> Run:
    """A run with the figures of its rows."""
    said = any(one.answer is not None for one in rows)
    settings: dict[str, Any] = {
        'split': 'val',
        'protocol': 'generated' if said else 'given',
        'metrics': [{'type': 'SegIoUMetric'}],
        'seconds': 0.25 * len(rows),
        'split_sha256': 'ab' * 32,
    }
    run = Run(benchmark=benchmark, title=title or benchmark, **{**settings, **more})
    describe(run, rows, [SegIoUMetric()], records=len({one.img_path for one in rows}))
    return run


def write_model(folder: Path, name: str, runs: Sequence[tuple[Run, Sequence[Judged] | None]], **more: Any) -> Path:
    """Write a model's results.json and rows, as tools/test.py does."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for run, rows in runs:
        if rows is not None:
            path = rows_folder(folder, run) / 'rows.jsonl'
            write_rows(rows, path)
            run = run.model_copy(update={'rows': path.relative_to(folder).as_posix()})
        kept.append(run)
    settings: dict[str, Any] = {
        'checkpoint': f'work_dirs/{folder.name}',
        'weights_sha256': 'cd' * 32,
        'config_sha256': 'ef' * 32,
        'device': 'cpu, float32',
        'versions': {'torch': '2.14.0', 'lisa_mm': '0.1'},
        'date': '2026-11-28T12:00:00+00:00',
        'trained_on': ['refCOCO train', 'ReasonSeg train'],
    }
    write_results(Results(model=name, runs=kept, **{**settings, **more}), folder)
    return folder


ABSENT = Run(
    benchmark='muse',
    title='MUSE',
    split='val',
    protocol='generated',
    status='absent',
    why='data/muse/muse_val.json is missing. Get it from the authors.',
)


def make_two(folder: Path) -> list[Path]:
    """Two models on two benchmarks of 40 questions; one with questions about nothing, and one absent."""
    asked = draw_pictures(folder / 'pictures')
    names = ('lisa_a', 'lisa_b')
    made = []
    for k, name in enumerate(names):
        rng = np.random.default_rng(k)
        shifts = rng.integers(0, 9 if k else 14, len(asked))
        silent = rng.random(len(asked)) < 0.6
        said = [
            answer(one, int(shift), said=True, silent=bool(quiet and not one.target.any()) or n % 17 == 16 * (1 - k))
            for n, (one, shift, quiet) in enumerate(zip(asked, shifts, silent, strict=True))
        ]
        there = [
            replace(answer(one, int(shift) // 2, said=False), facts={'kind': 'long' if one.number else 'short'})
            for one, shift in zip(asked, shifts, strict=True)
            if one.target.any()
        ]
        shared = SharedImages(images=3, data_sets=['refCOCO train']) if k else SharedImages(images=0, data_sets=[])
        runs = [
            (run_of('grefcoco', said, title='gRefCOCO'), said),
            (run_of('reasonseg', there, title='ReasonSeg', shared_images=shared), there),
            (ABSENT, None),
        ]
        made.append(write_model(folder / name, name, runs))
    return made
