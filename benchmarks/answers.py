"""Measure answers in batches: sixteen questions, one, four and sixteen at a time, in turns."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from lisa_mm.apis import LISAInferencer, Request
from lisa_mm.apis.loading import prepare_model, resolve
from lisa_mm.apis.preparing import Prepared, join
from lisa_mm.models.decoding import AnswerOptions

from .presets import PRESETS

QUESTIONS = 16
SIZES = (1, 4, 16)
WORDS = ('the red cup', 'a ball', 'Which fruit is sour?', 'the big blue kite on the left', 'the dog', 'Where could it drink?')


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    inferencer = build(args.model)
    print(f'{args.model}: {QUESTIONS} questions, up to {args.tokens} tokens each; median of {args.rounds} rounds, in turns')
    how = {'max_new_tokens': args.tokens, 'force_seg': args.model == 'mid'}
    for name, measure in (
        ('16 images, a question each', lambda size: on_images(inferencer, QUESTIONS, size, **how)),
        ('one image, 16 questions', lambda size: on_images(inferencer, 1, size, **how)),
        ('16 images, tokens after the first alone', lambda size: decoding(inferencer, size, args.tokens)),
    ):
        print(f'\n{name}')
        table(measure, SIZES, args.rounds)


def build(model: str) -> LISAInferencer:
    """An inferencer of a folder's model, or of the middle one with random weights."""
    if model != 'mid':
        return LISAInferencer(prepare_model(*resolve(model)), show_progress=False)
    return LISAInferencer(prepare_model(Config({'model': PRESETS['7b_shaped'].model()}), None), show_progress=False)


def table(measure: Callable[[int], float], sizes: Sequence[int], rounds: int) -> None:
    """Print the seconds of each batch size, and the factor over size 1 round by round."""
    measure(max(sizes))  # the first is slower
    seconds = [[measure(size) for size in sizes] for _ in range(rounds)]
    for column, size in enumerate(sizes):
        own = [row[column] for row in seconds]
        factor = statistics.median(row[0] / row[column] for row in seconds)
        print(f'  batches of {size:2d}: {statistics.median(own):7.2f} s   {factor:5.2f} times as fast as one by one')


def on_images(inferencer: LISAInferencer, images: int, size: int, **how: Any) -> float:
    """Seconds for all questions about new images, in batches."""
    shown = [picture(size_of(inferencer)) for _ in range(images)]
    asked = [WORDS[number % len(WORDS)] for number in range(QUESTIONS)]
    pictures = [shown[number % images] for number in range(QUESTIONS)]
    began = time.perf_counter()
    inferencer(pictures, asked, batch_size=size, **how)
    return time.perf_counter() - began


def decoding(inferencer: LISAInferencer, size: int, tokens: int) -> float:
    """Seconds of all tokens after the first, without masks: those of long answers less those of answers of one token."""
    shown = [picture(size_of(inferencer)) for _ in range(QUESTIONS)]

    def seconds(count: int) -> float:
        began = time.perf_counter()
        for begin in range(0, QUESTIONS, size):
            batch = [inferencer.preparer.prepare(one) for one in requests(shown[begin : begin + size], count)]
            words(inferencer, batch, count)
        return time.perf_counter() - began

    return seconds(tokens) - seconds(1)


def requests(shown: Sequence[np.ndarray], count: int) -> list[Request]:
    """Questions of different lengths about pictures."""
    options = AnswerOptions(max_new_tokens=count)
    return [Request(image, WORDS[number % len(WORDS)], options=options) for number, image in enumerate(shown)]


@torch.no_grad()
def words(inferencer: LISAInferencer, batch: Sequence[Prepared], count: int) -> None:
    """Generate exactly ``count`` tokens for each prompt, and no mask."""
    joined = join(batch, int(inferencer.tokenizer.pad_token_id))  # pyright: ignore[reportArgumentType] - it is one
    data = inferencer.model.data_preprocessor({'inputs': joined.inputs, 'data_samples': joined.samples})
    inferencer.model.mllm.generate(data['inputs'], max_new_tokens=count, eos_token_id=None, pad_token_id=0)


def size_of(inferencer: LISAInferencer) -> tuple[int, int]:
    """(height, width) of pictures: 480 x 640 for a SAM of 1024 pixels, and as much smaller as the SAM is."""
    side = inferencer.model.mask_decoder.preprocess['image_size']
    return int(side / 1.6 * 3 / 4), int(side / 1.6)


def picture(size: tuple[int, int]) -> np.ndarray:
    """Noise of a height and width, another one at each call."""
    return np.random.default_rng().integers(0, 255, (*size, 3), dtype=np.uint8)
