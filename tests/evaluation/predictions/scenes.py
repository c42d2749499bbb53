"""A small data set whose questions and masks are given, for predictions to be judged on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_mm.datasets import BaseSegDataset
from lisa_mm.datasets.base import Asked
from lisa_mm.datasets.run_lengths import encode_mask

HEIGHT, WIDTH = 6, 8
Turns = list[tuple[str, str]]


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """(H, W) bool, a rectangle without its bottom and right ends."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths."""
    return dict(encode_mask(mask))


class Scenes(BaseSegDataset):
    """Records as they are given: ``sample_id``, ``img_path``, ``conversations``, ``masks`` (encoded) and perhaps ``facts``."""

    def __init__(self, records: list[dict[str, Any]], *, test_mode: bool = True):
        self.records = records
        super().__init__(test_mode=test_mode)

    def load_data_list(self) -> list[dict[str, Any]]:
        return self.records

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        turns = [[(question, answer) for question, answer in row] for row in record['conversations']]
        return Asked(turns, record['masks'], facts=record.get('facts', []))


def image(folder: Path, name: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    """Path of an image file (width, height)."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Image.new('RGB', size).save(path)
    return str(path)


def asks(*texts: str) -> list[Turns]:
    """A conversation of one question for each text."""
    return [[(f'<image>\n{text}', '[SEG].')] for text in texts]


def record(folder: Path, name: str, rows: list[Turns], masks: list[Any], **other: Any) -> dict[str, Any]:
    """A record about the image ``name``, with masks given as arrays or encoded."""
    encoded = [{'rle': rle(mask)} if isinstance(mask, np.ndarray) else mask for mask in masks]
    return {'sample_id': f'scenes/{name}', 'img_path': image(folder, name), 'conversations': rows, 'masks': encoded, **other}


CUP, POT, BALL = box(0, 0, 3, 4), box(3, 4, 6, 8), box(1, 1, 3, 3)
IGNORED = {
    'shapes': [
        {'label': 'target', 'points': [[0, 0], [3, 0], [3, 2], [0, 2]]},
        {'label': 'ignore', 'points': [[5, 0], [7, 0], [7, 5], [5, 5]]},
    ]
}
NOTHING = box(0, 0, 0, 0)
COCO_NAME = 'COCO_train2014_000000000009.jpg'


def scenes(folder: Path) -> Scenes:
    """Questions about a COCO image, ignored pixels, two targets in a second turn, no target, and two samples of one image."""
    talk: Turns = [('<image>\nwhat is it?', 'A table.'), ('what is on it?', 'A cup [SEG] and a pot [SEG].')]
    return Scenes(
        [
            record(folder, COCO_NAME, asks('the cup', 'the pot'), [CUP, POT], facts=[{'kind': 'short'}, {'kind': 'long'}]),
            record(folder, 'blurred.png', asks('the ball'), [IGNORED]),
            record(folder, 'table.png', [talk], [CUP, POT]),
            record(folder, 'empty.png', asks('the dog'), [NOTHING]),
            {**record(folder, 'twice.png', asks('the first'), [BALL]), 'sample_id': 'twice.png#0'},
            {**record(folder, 'twice.png', asks('the second'), [CUP]), 'sample_id': 'twice.png#1'},
        ]
    )
