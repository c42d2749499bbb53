"""The peak memory of training steps at true widths, compared with the figure that ``check_config`` calculates."""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.stages.cases import answer_case, report, run_cases
from benchmarks.gpu.stages.scale import (
    TOY,
    TOY_SHAPE,
    build,
    parts_of,
    source_of,
    traced,
    train_steps,
    write_zeros,
)
from lisa_mm.planning.batch import BatchShape

GIB = 2**30
STEPS = 3  # the first one fills the optimizer state
SHAPE = BatchShape(images=2, rows=3, tokens=512, size=(768, 1024))
NEAR = 0.1  # fraction of the calculated peak
QLORA = ("model.mllm.language_model.quantization={'load_in_4bit':True,'bnb_4bit_quant_type':'nf4'}",)


@dataclass(frozen=True)
class Case:
    """A configuration to measure: a config of configs/lisa, edited."""

    name: str
    config: str | dict[str, Any]
    swaps: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shape: BatchShape = SHAPE


def _7b(name: str, *options: str, swaps: tuple[str, ...] = (), shape: BatchShape = SHAPE) -> Case:
    return Case(f'lisa_7b_mix{", " + name if name else ""}', 'lisa_7b_mix', swaps, options, shape)


# Most valuable first
LARGE = (
    _7b(''),
    Case('lisa_13b_mix', 'lisa_13b_mix'),
    Case('lisa_qwen2_5_vl_7b_sam2_l', 'lisa_qwen2_5_vl_7b_sam2_l', shape=BatchShape(2, 3, 400, (768, 1024))),
    _7b('QLoRA, 4 bits', *QLORA),
    _7b('without gradient checkpointing', 'model.mllm.language_model.gradient_checkpointing=False'),
    _7b('separate rows', 'model.mllm.language_model.share_prefix=False'),
    _7b('ZeRO-3', swaps=('strategy=zero3_bf16',)),
    _7b('ZeRO-2, optimizer on the CPU', swaps=('strategy=zero2_offload_bf16',)),
    _7b('new rows only', 'model.train_embeddings=new_rows'),
    _7b('SAM ViT-B, 1 image x 1 row', swaps=('mask_decoder=sam_vit_b',), shape=BatchShape(1, 1, 320, (768, 1024))),
    _7b('LoRA on all linear layers', swaps=('lora=all_linear_r16',)),
)
SMALL = (Case('toy', TOY, shape=TOY_SHAPE),)
CASES_BY_NAME = {case.name: case for case in (*LARGE, *SMALL)}


def prepared(case: Case) -> dict[str, Any]:
    """The config of a case, with two micro-batches per step."""
    source = source_of(case.config, case.swaps, case.options)
    strategy = source.setdefault('strategy', dict(type='LisaSingleDeviceStrategy'))
    strategy.pop('target_batch', None)
    strategy['accumulation'] = 2
    return source


def measure(device: str, name: str, turn: Callable[[], object]) -> dict[str, float]:
    """Peak bytes of the last training step, measured and calculated."""
    case = CASES_BY_NAME[name]
    source = prepared(case)
    parts, shapes = parts_of(source)
    _, calculated = traced(shapes, case.shape, source['strategy'], device)
    del shapes
    with tempfile.TemporaryDirectory() as folder:
        language_model = parts['mllm'].get('language_model', {})
        if language_model.get('quantization'):  # needs a readable folder
            write_zeros({**language_model['config'], 'vocab_size': language_model['vocab_size']}, Path(folder))
            language_model |= {'pretrained': folder, 'config': None}
        turn()
        model = build(parts, device)
    peaks: list[int] = []

    def around(step: Callable[[], None], number: int) -> None:
        if device == 'cuda':
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.reset_peak_memory_stats()
        step()
        if device == 'cuda':
            torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() if device == 'cuda' else 0)

    train_steps(source, model, case.shape, STEPS, around)
    reserved = torch.cuda.max_memory_reserved() if device == 'cuda' else 0
    return {'peak': peaks[-1], 'reserved': reserved, 'calculated': calculated}


def main(task: dict[str, Any]) -> None:
    """Write one row per configuration."""
    device = task['device']
    measured = partial(measure, device)
    answer_case(task, measured)
    for outcome in run_cases(task, [case.name for case in (SMALL if task['small'] else LARGE)], measured, seconds=60, ahead=4):
        if outcome.status != 'done':
            report(task, case=outcome.name, status=outcome.status, note=outcome.note)
            continue
        peak, reserved, calculated = (outcome.found[key] / GIB for key in ('peak', 'reserved', 'calculated'))
        if device == 'cpu':
            row = dict(status='reported', value='no peak on a CPU', note=f'calculated {calculated:.2f} GiB; {STEPS} steps ran')
        else:
            row = dict(
                status='holds' if 1 - NEAR <= peak / calculated <= 1 + NEAR else 'DOES NOT HOLD',
                value=f'{peak:.2f} GiB ({reserved:.2f} reserved)',
                allowed=f'{calculated:.2f} GiB calculated, +-{NEAR:.0%}',
                note=f'measured / calculated {peak / calculated:.3f}',
            )
        report(task, case=outcome.name, **row)


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
