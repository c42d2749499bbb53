"""Measure an evaluation with given answers: seconds per image in batches of several sizes, in turns, with the counting."""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from typing import Any

import torch
from mmengine.config import Config

from lisa_mm.apis.loading import prepare_model
from lisa_mm.engine.memory import keep_freed_memory
from lisa_mm.evaluation.judged import judge
from lisa_mm.models import LISA
from lisa_mm.structures import SegDataSample
from lisa_mm.tokens import IMAGE_TOKEN_ID

from .presets import PRESETS

PRESET = PRESETS['mid']
QUESTIONS, TEXT_TOKENS, SIZE = PRESET.rows, PRESET.text_tokens, PRESET.size


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    keep_freed_memory()  # as tools/test.py does on a CPU
    model = prepare_model(Config({'model': PRESET.model()}), None).load()
    print(
        f'{args.images} images of {SIZE[0]} x {SIZE[1]}, {QUESTIONS} questions each, answers given; median of {args.rounds} '
        'rounds, in turns'
    )
    rows = [[seconds(model, size, args.images) for size in args.batch_sizes] for _ in range(args.rounds + 1)][1:]
    for column, size in enumerate(args.batch_sizes):
        own = statistics.median(row[column] for row in rows)
        factor = statistics.median(row[0] / row[column] for row in rows)
        print(f'  batches of {size:2d}: {own:6.3f} s per image   {factor:5.2f} times as fast as batches of {args.batch_sizes[0]}')
    print(f'peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB')


@torch.no_grad()
def seconds(model: LISA, size: int, images: int) -> float:
    """Seconds per image: masks and counts of ``images`` images in batches of a size."""
    batches = [batch_of(model, min(size, images - begin)) for begin in range(0, images, size)]
    began = time.perf_counter()
    for batch in batches:
        for sample in model(**model.data_preprocessor(batch), mode='predict', binary=True):
            judge(dict(sample.all_items()))
    return (time.perf_counter() - began) / images


def batch_of(model: LISA, images: int) -> dict[str, Any]:
    """A collated batch of noise, each row with one ``[SEG]``."""
    rows = images * QUESTIONS
    text = torch.randint(5, 1000, (rows, TEXT_TOKENS))
    text[:, -3] = model.mask_token_ids[0]
    image = torch.full((rows, model.mllm.num_image_tokens(0, 0)), IMAGE_TOKEN_ID)
    ids = torch.cat([text[:, :4], image, text[:, 4:]], dim=1)
    side = model.mask_decoder.preprocess['image_size']
    inputs = {
        'pixel_values': torch.randn(images, 3, 224, 224),
        'mask_images': torch.randn(images, 3, side, side),
        'input_ids': ids,
        'labels': torch.full_like(ids, -100),
        'attention_mask': torch.ones_like(ids, dtype=torch.bool),
        'image_index': torch.arange(images).repeat_interleave(QUESTIONS),
    }
    return {'inputs': inputs, 'data_samples': [sample_of(str(number), side) for number in range(images)]}


def sample_of(name: str, side: int) -> SegDataSample:
    """A data sample with random targets."""
    resized = (round(SIZE[0] * side / max(SIZE)), side)
    asked = {'conversations': [[('the cup', '[SEG].')]] * QUESTIONS, 'mask_counts': [[1]] * QUESTIONS}
    sample = SegDataSample(metainfo={'sample_id': name, 'original_size': SIZE, 'resized_size': resized, **asked})
    sample.set_data({'gt_masks': (torch.rand(QUESTIONS, *SIZE) > 0.5).to(torch.uint8)})
    return sample
