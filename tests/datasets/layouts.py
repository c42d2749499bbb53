"""Small files in the layouts of MUSE, GCG and Sa2VA: images of 40 x 48 (height, width), masks of areas that are easy to count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lisa_mm
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.run_lengths import encode_mask
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import (
    DecodeMasks,
    EncodeConversations,
    LoadImage,
    PackSegInputs,
    ResizeForMaskDecoder,
    ResizeForVisionTower,
)

HEIGHT, WIDTH = 40, 48
READ = [LoadImage(), DecodeMasks()]
NANO = Path(lisa_mm.__file__).parent / 'weights' / 'nano' / 'tokenizer'
TOKENIZER: dict[str, Any] = dict(pretrained=str(NANO), template='plain', wrap_image=False)
WHOLE = [
    *READ,
    ResizeForVisionTower(dict(size=dict(height=32, width=32), do_center_crop=False)),
    ResizeForMaskDecoder(dict(image_size=64, resize='longest_side')),
    EncodeConversations(TOKENIZER, 4),
    PackSegInputs(),
]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (WIDTH, HEIGHT)).save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')


def box(x: int, y: int, width: int, height: int) -> list[int]:
    """A polygon of width * height pixels."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def columns(first: int, count: int) -> dict[str, Any]:
    """Whole columns as a crowd's uncompressed RLE: count * 40 pixels."""
    return {'size': [HEIGHT, WIDTH], 'counts': [first * HEIGHT, count * HEIGHT, (WIDTH - first - count) * HEIGHT]}


def coded(x: int, y: int, width: int, height: int) -> Any:
    """A compressed RLE of width * height pixels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    return encode_mask(mask)


def areas(sample: dict[str, Any]) -> list[int]:
    """Pixels of each mask."""
    return [int(mask.sum()) for mask in sample['gt_masks']]


def batches(make: Any) -> tuple[list[int], list[int], list[torch.Tensor]]:
    """Number of [SEG] in each row with given and with generated answers, and the masks of the samples, of a whole test set.

    Args:
        make: Called with ``pipeline`` and ``answers``; returns the data set.
    """
    seg = build_tokenizer(**TOKENIZER).convert_tokens_to_ids('[SEG]')
    counts, masks = [], []
    for answers in ('given', 'generated'):
        dataset = make(pipeline=WHOLE, answers=answers)
        batch = seg_collate([dataset[n] for n in range(len(dataset))])
        counts.append((batch['inputs']['input_ids'] == seg).sum(1).tolist())
        masks.append([sample.gt_masks for sample in batch['data_samples']])
        for sample in batch['data_samples']:
            assert len(sample.get('facts', sample.conversations)) == len(sample.conversations)
    for given, generated in zip(*masks, strict=True):
        assert torch.equal(given, generated)
    return counts[0], counts[1], masks[0]
