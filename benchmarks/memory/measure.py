"""Measure the memory of real training steps on this CPU, from the allocation events of torch's profiler.

Every allocation and release of a tensor's memory since the start of the process is an event; the measurement is the peak of
their sum within a step. It uses nothing from the calculation in lisa_mm/planning.

    python -m benchmarks.memory.measure '{"case": ..., "out": ...}'     (with torchrun for several processes)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from lisa_mm.errors import UserError
from lisa_mm.planning.batch import BatchShape, sample_item

from .. import checkout_environment
from .cases import CASES_BY_NAME, MemoryCase

STEP = 'measured step'
STEPS = 3  # the first fills the optimizer state, the second records ZeRO-3's order of parameters


class OneItem(Dataset):
    """One item, repeated. It must not hold the model, because mmengine deep-copies data sets."""

    def __init__(self, item: dict[str, Any]):
        self.item = item

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.item


def shape_of(case: MemoryCase) -> BatchShape:
    """The shape of a case's batch."""
    return BatchShape(case.images, case.rows, case.tokens, case.size)


def measure(case: MemoryCase) -> int:
    """Peak bytes of the case's last training step, in the process that needs most.

    Raises:
        UserError: if the measured process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = json.dumps({'case': case.name, 'out': folder})
        program = ['-m', __name__, task]
        if case.processes > 1:
            program = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={case.processes}', *program]
        environment = checkout_environment(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
        done = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=False, env=environment)
        files = sorted(Path(folder).glob('peak_*.json'))
        if done.returncode or len(files) != case.processes:
            raise UserError(f'{case.name}: the measured process failed:\n{done.stderr[-3000:]}')
        return max(json.loads(file.read_text())['peak'] for file in files)


def peak_within(profile: torch.profiler.profile, name: str) -> int:
    """The largest sum of allocated bytes while the annotation ``name`` was open for the last time."""
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    events = list(profile.profiler.kineto_results.events())
    marks = [event for event in events if event.name() == name]
    begin = max(event.start_ns() for event in marks)
    end = next(event.start_ns() + event.duration_ns() for event in marks if event.start_ns() == begin)
    memory = sorted((event for event in events if event.name() == '[memory]'), key=lambda event: event.start_ns())
    total = peak = 0
    for event in memory:
        total += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue] - torch's stub lacks it
        if event.start_ns() < begin:
            peak = total
        elif event.start_ns() <= end:
            peak = max(peak, total)
    return peak


def run_measured(case: MemoryCase, work_dir: Path) -> int:
    """Train three steps in this process under the profiler; returns the last one's peak in bytes."""
    torch.set_num_threads(1)
    from mmengine.config import Config

    from lisa_mm.config.compile import compile_config
    from lisa_mm.engine import LisaRunner

    class AnnotatedRunner(LisaRunner):
        def build_train_loop(self, loop: Any) -> Any:
            built = super().build_train_loop(loop)
            plain = built.run_iter  # pyright: ignore[reportAttributeAccessIssue] - an IterTrainLoop

            def run_iter(*args: object) -> None:
                with torch.profiler.record_function(STEP):
                    plain(*args)

            built.run_iter = run_iter  # pyright: ignore[reportAttributeAccessIssue] - an IterTrainLoop
            return built

    source = case.source()
    del source['train_dataloader']
    compiled = compile_config(Config(source)).to_dict()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        from lisa_mm.registry import MODELS

        torch.manual_seed(0)
        model = MODELS.build(compiled.pop('model'))
        loader = dict(
            dataset=OneItem(sample_item(model, shape_of(case))),
            batch_size=case.images,
            num_workers=0,
            sampler=dict(type='SeekableSampler'),
            collate_fn=dict(type='seg_collate'),
        )
        runner = AnnotatedRunner(
            model,
            **compiled,
            train_dataloader=loader,
            work_dir=str(work_dir),
            default_hooks=dict(checkpoint=None),
            experiment_name=f'memory_{os.getpid()}',
        )
        del model
        runner.train()
    return peak_within(profile, STEP)


def main(task: dict[str, Any]) -> None:
    """Run one process of a measurement."""
    folder = Path(task['out'])
    rank = os.environ.get('RANK', '0')
    peak = run_measured(CASES_BY_NAME[task['case']], folder / 'work')
    (folder / f'peak_{rank}.json').write_text(json.dumps({'peak': peak}))


if __name__ == '__main__':
    main(json.loads(sys.argv[-1]))
    # a C++ thread of torch that outlives the interpreter sometimes aborts the process after everything is written
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
