"""Measure the memory of a training's start: processes build a made-up model from files, as training does.

The parent writes a model of some 300 million parameters as checkpoint files, starts 1, 2, 4 processes, and reads from /proc
what they hold: PSS (the pages of a file count once, shared out among the processes that use them) and RSS.

    python -m benchmarks.memory.start '{"source": ..., "folder": ...}'     (one process, started by the parent)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lisa_mm.errors import UserError
from lisa_mm.planning.host import host_memory
from lisa_mm.planning.report import build_on_shapes

from .. import checkout_environment
from .cases import LORA, LOSSES, TOKENIZER

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16, 'float32': torch.float32}
LLAMA: dict[str, Any] = dict(
    model_type='llama',
    vocab_size=32000,
    hidden_size=1024,
    intermediate_size=2816,
    num_hidden_layers=12,
    num_attention_heads=16,
    num_key_value_heads=16,
    tie_word_embeddings=False,
)
CLIP: dict[str, Any] = dict(
    hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8, image_size=112, patch_size=14
)
COLUMNS = ('processes', 'program', 'PSS', 'private', 'calc.', 'PSS', 'private', 'RSS')
MEASURES = ('pss', 'rss', 'private')
PERIOD = 0.03  # seconds between two looks at the processes


@dataclass(frozen=True)
class StartMemory:
    """What the processes of a start held together, in bytes; each peak is the largest sum at one moment.

    Args:
        processes: Their number.
        files: Size of the weight files.
        before: When the program is imported and no weight is read.
        read: Peaks until the model is built.
        ready: Peaks from then until the optimizer is ready.
        calculated: What ``check_config`` says of the processes' own memory until the model is built.

    Each of the three holds ``pss``, the proportional share; ``rss``, where shared pages count in every process; and
    ``private``, what belongs to the processes themselves, without the files' pages.
    """

    processes: int
    files: int
    before: dict[str, int]
    read: dict[str, int]
    ready: dict[str, int]
    calculated: int


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if not Path('/proc/self/smaps_rollup').is_file():
        raise UserError('memory is read from /proc/PID/smaps_rollup, which this system does not have. Run it on Linux.')
    found = []
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        files = write_files(Path(folder), DTYPES[args.files])
        source = start_source(files, args.strategy, train_embeddings=args.train_embeddings)
        size = sum(path.stat().st_size for path in Path(folder).rglob('*') if path.suffix in ('.safetensors', '.pth'))
        print(f'{size / 1e6:.0f} MB of files in {args.files}, {args.strategy}; MB of all processes together')
        print('beside the imported program: until the model is built, until the optimizer is ready')
        print(''.join(f'{name:>10s}' for name in COLUMNS))
        for processes in args.processes:
            memory = measure_start(source, processes, size)
            found.append(asdict(memory))
            before, read, ready = memory.before, memory.read, memory.ready
            beside = [step[key] - before[key] for step in (read, ready) for key in ('pss', 'private')]
            numbers = [before['pss'], *beside[:2], memory.calculated, *beside[2:], ready['rss']]
            print(f'{processes:10d}' + ''.join(f'{number / 1e6:10.0f}' for number in numbers), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps({'strategy': args.strategy, 'files': args.files, 'found': found}, indent=1))


def write_files(folder: Path, dtype: torch.dtype) -> dict[str, Path]:
    """Write a language model, a vision tower and a SAM with random weights.

    Args:
        folder: Gets the folders ``llama`` and ``clip`` and the file ``sam.pth``.
        dtype: Of all weights.
    """
    from segment_anything import sam_model_registry
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    paths = {'llama': folder / 'llama', 'clip': folder / 'clip', 'sam': folder / 'sam.pth'}
    models: dict[str, Any] = {
        'llama': LlamaForCausalLM(LlamaConfig(**LLAMA)),
        'clip': CLIPVisionModel(CLIPVisionConfig(**CLIP)),
    }
    for name, model in models.items():
        model.to(dtype).save_pretrained(paths[name])
    torch.save(sam_model_registry['vit_b']().to(dtype).state_dict(), paths['sam'])
    return paths


def start_source(files: dict[str, Path], strategy: str, *, train_embeddings: bool) -> dict[str, Any]:
    """The config of a training that reads the files."""
    return dict(
        model=dict(
            type='LISA',
            mllm=dict(
                type='LlavaMLLM',
                vision_tower=dict(type='CLIPVisionTower', pretrained=str(files['clip'])),
                projector=dict(type='LinearProjector'),
                language_model=dict(type='CausalLM', pretrained=str(files['llama']), tokenizer=TOKENIZER, template='plain'),
            ),
            mask_decoder=dict(
                type='SAMMaskDecoder',
                pretrained=str(files['sam']),
                image_encoder=dict(type='SAMImageEncoder', variant='vit_b'),
            ),
            seg_head=dict(type='SegTokenHead'),
            losses=LOSSES,
            lora=LORA,
            train_embeddings=True if train_embeddings else 'new_rows',
        ),
        strategy=dict(type='LisaDDPStrategy')
        if strategy == 'ddp'
        else dict(
            type='LisaDeepSpeedStrategy',
            zero_stage=2,
            bf16=strategy == 'zero2_bf16',
            zero_options=dict(reduce_bucket_size=4_000_000, allgather_bucket_size=4_000_000),
        ),
        train_cfg=dict(type='IterTrainLoop', max_iters=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
        train_dataloader=dict(batch_size=1),
    )


def measure_start(source: dict[str, Any], processes: int, files: int) -> StartMemory:
    """Start the processes and follow their memory until the optimizer is ready.

    Args:
        source: The config.
        processes: Their number.
        files: Size of the weight files in bytes.

    Raises:
        UserError: if a process fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = json.dumps({'source': source, 'folder': name})
        environment = checkout_environment(
            OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(_free_port())
        )
        started = []
        for rank in range(processes):
            variables = {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes)}
            with (folder / f'log_{rank}').open('wb') as log:
                command = [sys.executable, '-m', __name__, task]
                started.append(subprocess.Popen(command, env={**environment, **variables}, stdout=log, stderr=log))
        try:
            _wait(started, folder, 'ready')
            before = _held(started)
            (folder / 'read').touch()
            read = _wait(started, folder, 'built')
            (folder / 'go').touch()
            ready = _wait(started, folder, 'done')
            (folder / 'end').touch()
            for process in started:
                process.wait()
        finally:
            for process in started:
                process.kill()
                process.wait()
    return StartMemory(processes, files, before, read, ready, calculate(source, processes))


def calculate(source: dict[str, Any], processes: int) -> int:
    """The calculated memory of the processes until the model is built, in bytes, if no file needs a conversion."""
    half = bool(source['strategy'].get('bf16'))
    model = build_on_shapes(source['model'])
    return host_memory(source['model'], model, processes=processes, half=half, converted=False).private


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def _wait(started: Sequence[subprocess.Popen[bytes]], folder: Path, mark: str) -> dict[str, int]:
    """Look at the processes until each has written its mark; the largest sum of each measure meanwhile."""
    peaks = _held(started)
    while not all((folder / f'{mark}_{rank}').exists() for rank in range(len(started))):
        failed = next((rank for rank, process in enumerate(started) if process.poll() is not None), None)
        if failed is not None:
            raise UserError(f'process {failed} failed:\n{(folder / f"log_{failed}").read_text(errors="replace")[-3000:]}')
        held = _held(started)
        peaks = {key: max(peaks[key], held[key]) for key in MEASURES}
        time.sleep(PERIOD)
    return {key: max(peaks[key], held) for key, held in _held(started).items()}


def _held(started: Sequence[subprocess.Popen[bytes]]) -> dict[str, int]:
    """What the processes hold now, together, in bytes."""
    total: dict[str, int] = dict.fromkeys(MEASURES, 0)
    for process in started:
        text = Path(f'/proc/{process.pid}/smaps_rollup').read_text()
        for key, name in zip(MEASURES, ('Pss', 'Rss', 'Anonymous'), strict=True):
            found = re.search(rf'^{name}:\s+(\d+) kB', text, re.MULTILINE)
            total[key] += int(found[1]) * 1024 if found else 0
    return total


def build(source: dict[str, Any], folder: Path) -> None:
    """Build model, optimizer and strategy in this process, as a training does before its first step."""
    rank = os.environ['RANK']
    from mmengine.config import Config

    from lisa_mm.config.compile import compile_config
    from lisa_mm.engine import LisaRunner
    from lisa_mm.engine.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    del source['train_dataloader']
    compiled = compile_config(Config(source)).to_dict()
    optimizer = compiled.pop('optim_wrapper')
    del compiled['train_cfg']
    runner = LisaRunner(**compiled, work_dir=str(folder / f'work_{rank}'), experiment_name=f'start_{rank}')
    (folder / f'ready_{rank}').touch()
    _sleep_until(folder / 'read')
    model = runner.strategy.build_model(runner.model)
    (folder / f'built_{rank}').touch()
    _sleep_until(folder / 'go')
    runner.strategy.prepare(model, optim_wrapper=optimizer, dispatch_kwargs={})
    (folder / f'done_{rank}').touch()
    _sleep_until(folder / 'end')


def _sleep_until(file: Path) -> None:
    while not file.exists():
        time.sleep(PERIOD)


if __name__ == '__main__':
    given = json.loads(sys.argv[-1])
    build(given['source'], Path(given['folder']))
    sys.stdout.flush()
    os._exit(0)  # as in measure.py: a thread of torch may outlive the interpreter
