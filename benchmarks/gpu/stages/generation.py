"""Answers at 7B proportions in bfloat16: one question, 16 questions on one image, with and without ``torch.compile``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers.generation import CompileConfig

from benchmarks.gpu.stages.cases import answer_case, report, run_cases
from benchmarks.gpu.stages.scale import TOY, TOY_SHAPE, build, parts_of, source_of
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.models import LISA
from lisa_mm.planning.batch import BatchShape, sample_item
from lisa_mm.structures import SegDataSample

SHAPE = BatchShape(images=1, rows=1, tokens=320, size=(768, 1024))
QUESTIONS = 16
# transformers compiles the decoder itself if the cache has a fixed size; 'reduce-overhead' records CUDA graphs
CACHES = {
    'cache that grows': {},
    'static cache, torch.compile': dict(cache_implementation='static', compile_config=CompileConfig(mode='default')),
    'static cache, torch.compile and CUDA graphs': dict(
        cache_implementation='static', compile_config=CompileConfig(mode='reduce-overhead')
    ),
}


class Asked:
    """A prompt about an image, and the image as encoded by the mask decoder."""

    def __init__(self, model: LISA, shape: BatchShape):
        self.model = model
        item = sample_item(model, shape)
        item['inputs']['rows'] = item['inputs']['rows'][:1]
        batch: Any = model.data_preprocessor(seg_collate([item]))
        self.inputs: Any = {key: value for key, value in batch['inputs'].items() if key != 'labels'}
        self.sample: SegDataSample = batch['data_samples'][0]
        self._embeddings: Any = None

    def answer(self, tokens: int, *, new_image: bool, **options: Any) -> int:
        """Generate an answer of ``tokens`` tokens; returns the number of masks."""
        if new_image:
            self._embeddings = None

        def encode(pixels: torch.Tensor, images: list[int]) -> Any:
            if self._embeddings is None:
                self._embeddings = self.model.mask_decoder.encode_image(pixels)
            return self._embeddings

        _, logits = self.model.answer(
            self.inputs, self.sample, encode=encode, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, **options
        )
        return len(logits)


def measure(task: dict[str, Any], name: str, turn: Callable[[], object]) -> dict[str, Any]:
    """Seconds of the first answer, of one question, and of all questions on one image."""
    device, small = task['device'], task['small']
    source, shape = (source_of(TOY), TOY_SHAPE) if small else (source_of('lisa_7b_mix'), SHAPE)
    questions, tokens = (2, 4) if small else (QUESTIONS, 32)
    parts, _ = parts_of(source)
    turn()
    model = build(parts, device, torch.float32 if small else torch.bfloat16).eval()
    asked = Asked(model, shape)

    def seconds(count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            assert asked.answer(tokens, new_image=number == 0, **CACHES[name]) == 1
        if device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - began

    with torch.no_grad():
        first = seconds(1)
        seconds(1)
        one = [seconds(1) for _ in range(2)]
        return {
            'first': first,
            'one': min(one),
            'many': seconds(questions),
            'questions': questions,
            'tokens': tokens,
        }


def main(task: dict[str, Any]) -> None:
    """Write a row for one question and one for many, for each kind of cache."""
    measured = partial(measure, task)
    answer_case(task, measured)
    names = list(CACHES)[:1] if task['small'] else list(CACHES)
    for outcome in run_cases(task, names, measured, seconds=80):
        if outcome.status != 'done':
            report(task, case=outcome.name, status=outcome.status, note=outcome.note)
            continue
        found = outcome.found
        tokens, questions = found['tokens'], found['questions']
        report(
            task,
            case=f'1 question, {outcome.name}',
            status='reported',
            value=f'{found["one"]:.3f} s',
            note=f'{tokens} new tokens, {tokens / found["one"]:.1f} tokens/s; the very first answer {found["first"]:.1f} s',
        )
        report(
            task,
            case=f'{questions} questions on one image, {outcome.name}',
            status='reported',
            value=f'{found["many"]:.3f} s',
            note=f'{found["many"] / questions:.3f} s per question, {questions * tokens / found["many"]:.1f} tokens/s',
        )


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
