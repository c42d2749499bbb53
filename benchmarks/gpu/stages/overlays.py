"""One training step of each whole model, vision tower and mask decoder of configs/_base_ at its true widths."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.stages.cases import answer_case, report, run_cases
from benchmarks.gpu.stages.scale import CONFIGS, TOY, TOY_SHAPE, build, parts_of, source_of, train_steps
from lisa_mm.planning.batch import ANSWER, BatchShape, image_inputs

BASE = CONFIGS.parent / '_base_'
TEXT = 64  # tokens besides the image
# towers and decoders get a language model of two layers, which is not under test
SHALLOW = ('model.mllm.language_model.config.num_hidden_layers=2',)
FOLDERS = {'mllm': 'mllms', 'vision_tower': 'vision_towers', 'mask_decoder': 'mask_decoders'}


def overlays() -> list[str]:
    """``part=name`` of each overlay; kinds alternate, so that a short run shows some of each."""
    by_kind = [[f'{part}={file.stem}' for file in sorted((BASE / folder).glob('*.py'))] for part, folder in FOLDERS.items()]
    longest = max(map(len, by_kind))
    return [names[index] for index in range(longest) for names in by_kind if index < len(names)]


def measure(task: dict[str, Any], name: str, turn: Callable[[], object]) -> dict[str, Any]:
    """Seconds and loss of a training step, and the GPU's peak memory in bytes."""
    device = task['device']
    if task['small']:
        source, shape = source_of(TOY), TOY_SHAPE
        parts, _ = parts_of(source)
    else:
        source = source_of('lisa_7b_mix', (name,), () if name.startswith('mllm=') else SHALLOW)
        parts, shapes = parts_of(source)
        with torch.device('meta'):
            tokens = image_inputs(shapes)[2] + ANSWER + TEXT
        shape = BatchShape(images=1, rows=2, tokens=tokens, size=(480, 640))
    source['strategy'] = dict(type='LisaDeepSpeedStrategy', zero_stage=2, bf16=device == 'cuda', accumulation=1)
    turn()
    began = time.perf_counter()
    model = build(parts, device)
    taken: list[float] = []

    def around(step: Callable[[], None], number: int) -> None:
        begin = time.perf_counter()
        step()
        if device == 'cuda':
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)

    # the strategy stops at a non-finite loss
    train_steps(source, model, shape, 1, around)
    peak = torch.cuda.max_memory_allocated() if device == 'cuda' else 0
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {'step': taken[0], 'all': time.perf_counter() - began, 'peak': peak, 'weights': weights}


def main(task: dict[str, Any]) -> None:
    """Write one row per overlay."""
    measured = partial(measure, task)
    answer_case(task, measured)
    names = ['toy'] if task['small'] else overlays()
    for outcome in run_cases(task, names, measured, seconds=60, ahead=4, at_once=1 if task['small'] else 2):
        if outcome.status != 'done':
            report(task, case=outcome.name, status=outcome.status, note=outcome.note)
            continue
        found = outcome.found
        report(
            task,
            case=outcome.name,
            status='holds',
            value=f'a step ran, {found["step"]:.2f} s with what the first one sets up',
            note=f'{found["weights"] / 1e9:.2f} billion weights, peak {found["peak"] / 2**30:.2f} GiB; '
            f'{found["all"]:.1f} s with building',
        )


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
