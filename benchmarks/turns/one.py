"""One turn: measure a kind of work in this process and print a line of JSON.

    python -m benchmarks.turns.one '{"work": "train", "preset": "tiny", "savings": [...], ...}'

A process of its own, because the settings of the memory allocator are those of a whole process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Measure a turn.

    Args:
        task: ``work``, ``preset``, ``savings`` (names, or None for another checkout as it is), ``checkout`` (its folder, or
            None), ``features`` (whether those of frozen encoders are read from disk), ``threads``, ``steps`` (those timed), and
            ``operations`` (whether to count them in one more step).

    Returns:
        ``seconds`` and ``cpu_seconds`` of each step, ``parts`` (seconds of each part, per step), ``peak`` in bytes, ``numbers``
        of the first step, ``rate`` (operations per second of a matrix product), and ``operations`` of each part of a step.
    """
    if task['checkout']:
        sys.path.insert(0, task['checkout'])  # before lisa_mm is imported; this package is imported already
    import torch

    import lisa_mm

    if task['checkout'] and not Path(lisa_mm.__path__[0]).is_relative_to(Path(task['checkout']).resolve()):
        raise SystemExit(f'{task["checkout"]} holds no lisa_mm')
    torch.set_num_threads(task['threads'])
    with ExitStack() as stack:
        if task['savings'] is not None:
            from ..plain.savings import only

            stack.enter_context(only(task['savings']))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='speed_'))
        from ..presets import READERS  # of lisa_mm, so not before

        if task['work'] in READERS:
            from .work import SAMPLES, data_step

            return timed(data_step(task['work'], folder, 4 if task['preset'] == 'tiny' else SAMPLES), task)
        return timed_model(task, folder)


def timed(step: Callable[[], list[float]], task: dict[str, Any]) -> dict[str, Any]:
    """Seconds of steps without a model; a worker's CPU time is not counted."""
    numbers = step()
    seconds = []
    for _ in range(task['steps']):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return {'seconds': seconds, 'peak': peak(), 'numbers': numbers}


def timed_model(task: dict[str, Any], folder: str) -> dict[str, Any]:
    """Seconds and operations of steps with a model, and their parts; ``folder`` is an empty one."""
    from ..presets import PRESETS
    from .parts import Parts, matmul_rate, operations
    from .work import step_of

    preset = PRESETS[task['preset']]
    watch = Parts(time.perf_counter)
    current = [watch]
    model, step = step_of(
        task['work'],
        preset,
        shared=task['savings'] is not None,
        enter=lambda part: current[-1].enter(part),
        features=folder if task['features'] else None,
    )
    numbers = step()  # the first step is slower: it makes the optimizer's state
    watch.spent.clear()
    seconds, cpu = [], []
    for _ in range(task['steps']):
        with watch.watching(model):
            began, cpu_began = time.perf_counter(), time.process_time()
            step()
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - cpu_began)
    found: dict[str, Any] = {
        'seconds': seconds,
        'cpu_seconds': cpu,
        'parts': {name: value / task['steps'] for name, value in watch.spent.items()},
        'peak': peak(),
        'numbers': numbers,
        'rate': matmul_rate(256 if task['preset'] == 'tiny' else 2048),
    }
    if task['operations']:
        with operations() as counter:
            current.append(Parts(counter.get_total_flops))
            with current[-1].watching(model):
                step()
        found['operations'] = {name: value for name, value in current[-1].spent.items() if value}
    return found


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


if __name__ == '__main__':
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    sys.stderr.flush()
    os._exit(0)  # a C++ thread of torch that outlives the interpreter sometimes aborts the process
