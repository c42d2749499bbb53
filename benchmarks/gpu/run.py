"""Checks on a GPU what lisa_mm claims, stage by stage, and writes a table of what holds.

Each stage is a process of its own with a time limit of its own. A stage that fails or times out gives a row that says so, and
the next one starts; after each stage all results so far are in results.json and results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Stage:
    """A program that appends rows to a file.

    Args:
        name: Name of the stage in the results.
        program: Takes one argument, a JSON object with ``device``, ``small`` and ``rows`` (the file).
        seconds: Time limit; less if the whole run has less left.
        timed: True if it measures times, so that no other stage may run beside it.
    """

    name: str
    program: Path
    seconds: float
    timed: bool = False


# Most valuable first
STAGES = (
    Stage('parity', HERE / 'stages' / 'parity.py', 150),
    Stage('training', HERE / 'stages' / 'training.py', 240),
    Stage('memory', HERE / 'stages' / 'memory.py', 240),
    Stage('speed', HERE / 'stages' / 'speed.py', 120, timed=True),
    Stage('generation', HERE / 'stages' / 'generation.py', 120, timed=True),
    Stage('overlays', HERE / 'stages' / 'overlays.py', 400),
)


def run_stage(stage: Stage, task: dict[str, Any], out: Path, seconds: float) -> list[dict[str, Any]]:
    """Run one stage; returns its rows, ending with one for a failure or time-out.

    Args:
        stage: What to run.
        task: ``device`` and ``small``.
        out: Folder of the results.
        seconds: Time limit, after which the stage and all its processes are killed.
    """
    rows_file, log_file = out / f'{stage.name}.jsonl', out / f'{stage.name}.log'
    rows_file.unlink(missing_ok=True)
    began = time.monotonic()
    with log_file.open('wb') as log:
        process = subprocess.Popen(
            [sys.executable, str(stage.program), json.dumps({**task, 'rows': str(rows_file)})],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=stage_environment(),
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # processes of this stage must not continue beside the next one
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
    taken = time.monotonic() - began
    fault = None
    if code is None:
        fault = ('timeout', f'stopped after {seconds:.0f} s')
    elif code:
        fault = ('failed', failure(code, log_file))
    elif not rows:
        fault = ('failed', f'ended without a result; see {log_file.name}')
    if fault:
        rows.append({'case': 'the stage itself', 'status': fault[0], 'note': fault[1]})
    return [{'stage': stage.name, **row} for row in rows] + [
        {'stage': stage.name, 'case': 'time', 'status': 'reported', 'value': f'{taken:.1f} s'}
    ]


def failure(code: int, log: Path) -> str:
    """How a stage ended, in one line."""
    lines = [line for line in log.read_text(errors='backslashreplace').splitlines() if line.strip()]
    last = lines[-1].strip() if lines else 'no output'
    how = f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit status {code}'
    if code == -signal.SIGKILL:
        how += ' (out of memory, unless somebody killed it)'
    return f'{how}: {last[:300]}'


def stage_environment() -> dict[str, str]:
    """The environment of a stage: this checkout comes first, nothing is downloaded."""
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'HF_HUB_OFFLINE': '1', 'TOKENIZERS_PARALLELISM': 'false'}


def together(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Group adjacent stages that measure no times, to run in parallel; each of the others runs alone."""
    groups: list[list[Stage]] = []
    for stage in stages:
        if groups and not stage.timed and not groups[-1][0].timed:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def run_all(
    stages: Sequence[Stage], *, device: str, small: bool, minutes: float, out: Path, machine: dict[str, Any]
) -> dict[str, Any]:
    """Run the stages in order and write the results after each.

    Returns:
        The contents of results.json: ``machine`` and ``rows``.
    """
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    results: dict[str, Any] = {'machine': machine, 'device': device, 'small': small, 'rows': []}
    rows: dict[str, list[dict[str, Any]]] = {}
    for group in together(stages):
        left = end - time.monotonic()
        if left < 1:
            for stage in group:
                rows[stage.name] = [
                    {
                        'stage': stage.name,
                        'case': 'the stage itself',
                        'status': 'not run',
                        'note': f'{minutes:g} minutes were over',
                    }
                ]
        else:
            print(', '.join(f'{stage.name}: at most {min(left, stage.seconds):.0f} s' for stage in group), flush=True)
            with ThreadPoolExecutor(len(group)) as pool:
                task = {'device': device, 'small': small}
                running = {pool.submit(run_stage, stage, task, out, min(left, stage.seconds)): stage for stage in group}
                for future in as_completed(running):
                    rows[running[future].name] = future.result()
                    results['rows'] = [row for stage in stages for row in rows.get(stage.name, [])]
                    write_results(results, out)
        results['rows'] = [row for stage in stages for row in rows.get(stage.name, [])]
        write_results(results, out)
    return results


def write_results(results: dict[str, Any], out: Path) -> None:
    """Write results.json and results.md atomically."""
    for name, text in (('results.json', json.dumps(results, indent=1)), ('results.md', markdown(results))):
        temporary = out / f'.{name}'
        temporary.write_text(text, encoding='utf-8')
        temporary.replace(out / name)


def markdown(results: dict[str, Any]) -> str:
    """The results as a Markdown page."""
    about = ', '.join(f'{name} {value}' for name, value in results['machine'].items())
    lines = [f'{about}; device {results["device"]}{", toy sizes" if results["small"] else ""}', '']
    lines += ['| stage | case | status | measured | allowed | note |', '|---|---|---|---|---|---|']
    for row in results['rows']:
        cells = [str(row.get(key, '')).replace('|', '/') for key in ('stage', 'case', 'status', 'value', 'allowed', 'note')]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


_DESCRIBE = """
import json, platform, importlib.metadata as m, torch
found = {'python': platform.python_version()}
for name in ('torch', 'transformers', 'deepspeed', 'peft', 'mmengine', 'bitsandbytes'):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        found[name] = 'absent'
if torch.cuda.is_available():
    found['card'] = torch.cuda.get_device_name(0)
    found['GiB'] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    found['CUDA'] = torch.version.cuda
print(json.dumps(found))
"""


def describe_machine() -> dict[str, Any]:
    """Card, driver, versions and commit. A child process asks torch, so this one holds no GPU memory."""
    done = subprocess.run([sys.executable, '-c', _DESCRIBE], capture_output=True, text=True, env=stage_environment(), check=False)
    if done.returncode:
        sys.exit(f'error: torch cannot be imported by {sys.executable}: {done.stderr.strip().splitlines()[-1]}')
    machine = json.loads(done.stdout.splitlines()[-1])
    for name, command in (
        ('driver', ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']),
        ('commit', ['git', '-C', str(ROOT), 'describe', '--always', '--dirty', '--exclude=*']),
    ):
        try:
            machine[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            machine[name] = 'unknown'
    return machine


def install_wheels(wheels: Path, target: Path) -> None:
    """Install all wheels of a folder, without network, into a folder on the stages' path."""
    found = sorted(map(str, wheels.glob('*.whl')))
    if not found:
        sys.exit(f'error: {wheels} holds no wheels. Fill it with: bash benchmarks/gpu/wheels.sh {wheels}')
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--no-compile', '--upgrade']
    subprocess.run([*pip, '--target', str(target), *found], check=True)
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(target), os.environ.get('PYTHONPATH')]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python benchmarks/gpu/run.py --minutes 9 --out gpu_results --wheels wheels',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--minutes', type=float, default=9, help='for all stages together (default 9)')
    parser.add_argument('--out', type=Path, default=Path('gpu_results'), help='folder of the results (default gpu_results)')
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument('--small', action='store_true', help='toy sizes, to try the command')
    names = [stage.name for stage in STAGES]
    parser.add_argument(
        '--only', nargs='+', choices=names, metavar='STAGE', help=f'some of the stages, in the order you give: {", ".join(names)}'
    )
    parser.add_argument('--wheels', type=Path, help='a folder filled by wheels.sh; installed below --out')
    given = parser.parse_args(arguments)
    if not given.minutes > 0:
        parser.error(f'--minutes is {given.minutes:g}; give more than 0.')
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all stages."""
    given = parse(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if given.wheels:
        install_wheels(given.wheels, out / 'site')
    machine = describe_machine()
    if given.device == 'cuda' and 'card' not in machine:
        sys.exit('error: torch finds no GPU here. Give --device cpu --small to try the command without one.')
    by_name = {stage.name: stage for stage in STAGES}
    stages = [by_name[name] for name in dict.fromkeys(given.only or by_name)]
    results = run_all(stages, device=given.device, small=given.small, minutes=given.minutes, out=out, machine=machine)
    print(markdown(results))
    print(f'results: {out / "results.md"}')


if __name__ == '__main__':
    main()
