"""Cases of a stage, each in its own process: one that fails, hangs or runs out of memory gives a row and frees its memory.

A case's process starts before its turn, so its imports and CPU calculations take no GPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.run import failure

Measure = Callable[[str, Callable[[], object]], dict[str, Any]]


@dataclass
class Outcome:
    """How a case ended.

    Args:
        name: Name of the case.
        status: 'done', 'failed' or 'timeout'.
        found: Result of its function, if done.
        note: The reason otherwise.
    """

    name: str
    status: str
    found: dict[str, Any] = field(default_factory=dict)
    note: str = ''


@dataclass
class _Running:
    name: str
    process: subprocess.Popen
    answer: Path
    log: Path
    turn: float | None = None


def run_cases(
    task: Mapping[str, Any],
    names: Sequence[str],
    measure: Measure,
    *,
    seconds: float,
    ahead: int = 2,
    at_once: int = 1,
    environment: Callable[[str], Mapping[str, str]] | None = None,
    label: str = '',
) -> Iterator[Outcome]:
    """Run the cases of the current program; yield outcomes as cases end.

    The program starts again for each case, with the case in its task: :func:`answer_case` measures it. A single toy case is
    measured in this process.

    Args:
        task: Task of the stage.
        names: Names of the cases.
        measure: Takes a case's name and a function that waits for its turn, to call before using the GPU; returns the
            results.
        seconds: Time limit of a case, from its turn on.
        ahead: Number of processes that prepare while others have their turn.
        at_once: Number of cases that have their turn together.
        environment: Environment variables of a case's process.
        label: Prefix of the names of the cases' logs, after the stage's.
    """
    if task['small'] and len(names) == 1 and environment is None:
        yield Outcome(names[0], 'done', measure(names[0], lambda: None))
        return
    folder = Path(task['rows']).parent
    stage = Path(sys.argv[0]).stem + label
    waiting = list(enumerate(names))
    running: list[_Running] = []
    if task['small']:
        ahead = min(ahead, 1)
    try:
        while waiting or running:
            while waiting and len(running) < at_once + ahead:
                number, name = waiting.pop(0)
                answer, log = folder / f'{stage}_{number}.answer', folder / f'{stage}_{number}.log'
                answer.unlink(missing_ok=True)
                with log.open('wb') as file:
                    process = subprocess.Popen(
                        [sys.executable, sys.argv[0], json.dumps({**task, 'case': name, 'answer': str(answer)})],
                        stdin=subprocess.PIPE,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **(environment(name) if environment else {})},
                    )
                running.append(_Running(name, process, answer, log))
            for case in running[:at_once]:
                if case.turn is None:
                    case.turn = time.monotonic()
                    _say_go(case.process)
            time.sleep(0.02)
            for case in [case for case in running[:at_once] if case.turn is not None]:
                ended = case.process.poll() is not None
                if ended or time.monotonic() - case.turn > seconds:  # pyright: ignore[reportOperatorIssue] - had its turn, seen above
                    running.remove(case)
                    yield _outcome(case, ended, seconds)
    finally:
        for case in running:
            case.process.kill()


def _say_go(process: subprocess.Popen) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(b'\n')
        process.stdin.close()
    except BrokenPipeError:
        return  # it failed while preparing; its exit status says so


def _outcome(case: _Running, ended: bool, seconds: float) -> Outcome:
    if not ended:
        case.process.kill()
        case.process.wait()
        return Outcome(case.name, 'timeout', note=f'stopped after {seconds:.0f} s; see {case.log.name}')
    code = case.process.wait()
    if code or not case.answer.exists():
        return Outcome(case.name, 'failed', note=f'{failure(code, case.log)} ({case.log.name})')
    return Outcome(case.name, 'done', json.loads(case.answer.read_text()))


def answer_case(task: Mapping[str, Any], measure: Measure) -> None:
    """In a case's process: measure it, write the result, and end the process. In the stage's own process: do nothing.

    Args:
        task: The task, with ``case`` and ``answer`` in a case's process.
        measure: As in :func:`run_cases`.
    """
    if 'case' not in task:
        return
    found = measure(task['case'], lambda: bool(sys.stdin.readline()))
    Path(task['answer']).write_text(json.dumps(found))
    # threads of torch and DeepSpeed that outlive the interpreter may abort a process after its result is written
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def report(task: Mapping[str, Any], **row: Any) -> None:
    """Append a row to the stage's results."""
    with open(task['rows'], 'a', encoding='utf-8') as file:
        file.write(json.dumps(row) + '\n')
