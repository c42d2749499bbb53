"""The GPU command on a CPU: its stages run, and one that fails, hangs or runs out of memory is a row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / 'benchmarks' / 'gpu' / 'run.py'
sys.path.insert(0, str(RUN.parent))

import run as gpu_run  # noqa: E402  # pyright: ignore[reportMissingImports] - a script, beside the path above

GOOD = """
import json, sys
task = json.loads(sys.argv[1])
open(task['rows'], 'a').write(json.dumps({'case': 'a', 'status': 'holds', 'value': task['device']}) + '\\n')
"""


def run_programs(tmp_path, programs, seconds=20.0, minutes=1.0):
    """Rows of each stage, by its name, but for the times."""
    stages = []
    for name, text in programs.items():
        path = tmp_path / f'{name}.py'
        path.write_text(text)
        stages.append(gpu_run.Stage(name, path, seconds))
    out = tmp_path / 'out'
    results = gpu_run.run_all(stages, device='cpu', small=True, minutes=minutes, out=out, machine={'python': '3'})
    assert json.loads((out / 'results.json').read_text()) == results
    return {name: [r for r in results['rows'] if r['stage'] == name and r['case'] != 'time'] for name in programs}


def test_a_stage_that_fails_or_is_killed_is_a_row_and_the_next_one_runs(tmp_path):
    killed = 'import os, signal\nos.kill(os.getpid(), signal.SIGKILL)'
    memory = 'raise MemoryError("no 9 GiB left")'
    rows = run_programs(tmp_path, {'raises': GOOD + memory, 'killed': killed, 'silent': '', 'good': GOOD})
    assert [row['status'] for row in rows['raises']] == ['holds', 'failed']  # what it found before is kept
    assert rows['raises'][1]['note'] == 'exit status 1: MemoryError: no 9 GiB left'
    assert rows['killed'][0]['note'].startswith('killed by SIGKILL (out of memory')
    assert rows['silent'][0]['note'] == 'ended without a result; see silent.log'
    assert rows['good'] == [{'stage': 'good', 'case': 'a', 'status': 'holds', 'value': 'cpu'}]
    page = (tmp_path / 'out' / 'results.md').read_text()
    assert '| raises | the stage itself | failed |  |  | exit status 1: MemoryError: no 9 GiB left |' in page


def test_a_stage_that_hangs_is_stopped_with_its_children(tmp_path):
    child = tmp_path / 'alive'
    hangs = GOOD + (
        f'import subprocess, time\nsubprocess.Popen(["sh", "-c", "sleep 4; touch {child}"])\nsys.stdout.flush()\ntime.sleep(60)\n'
    )
    rows = run_programs(tmp_path, {'hangs': hangs, 'good': GOOD}, seconds=2)
    assert [row['status'] for row in rows['hangs']] == ['holds', 'timeout']
    assert rows['hangs'][1]['note'] == 'stopped after 2 s'
    assert rows['good'][0]['status'] == 'holds'
    subprocess.run(['sleep', '3'], check=True)
    assert not child.exists()


def test_stages_beyond_the_minutes_are_rows(tmp_path):
    rows = run_programs(tmp_path, {'late': GOOD}, minutes=0.0001)
    assert rows['late'][0]['status'] == 'not run'


def test_stages_that_measure_times_run_alone():
    groups = gpu_run.together(gpu_run.STAGES)
    assert [[stage.name for stage in group] for group in groups] == [
        ['parity', 'training', 'memory'],
        ['speed'],
        ['generation'],
        ['overlays'],
    ]


def test_chosen_stages_run_in_the_order_given(tmp_path, monkeypatch):
    chosen: list[str] = []
    monkeypatch.setattr(gpu_run, 'describe_machine', dict)
    monkeypatch.setattr(gpu_run, 'run_all', lambda stages, **_: chosen.extend(s.name for s in stages) or {'rows': []})
    monkeypatch.setattr(gpu_run, 'markdown', str)
    gpu_run.main(['--device', 'cpu', '--only', 'speed', 'parity', 'speed', '--out', str(tmp_path)])
    assert chosen == ['speed', 'parity']


def test_numbers_and_gpus_that_are_not_there_are_one_sentence(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        gpu_run.main(['--minutes', '0'])
    assert '--minutes is 0; give more than 0.' in capsys.readouterr().err
    monkeypatch.setattr(gpu_run, 'describe_machine', lambda: {})
    with pytest.raises(SystemExit, match='torch finds no GPU here'):
        gpu_run.main(['--out', str(tmp_path)])
    with pytest.raises(SystemExit, match='holds no wheels'):
        gpu_run.install_wheels(tmp_path, tmp_path / 'site')


@pytest.mark.slow
def test_the_command_on_the_cpu(tmp_path):
    # under two minutes alone on two cores; here another test has one of them
    command = [sys.executable, str(RUN), '--device', 'cpu', '--small', '--minutes', '8', '--out', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / 'results.json').read_text())['rows']
    assert {row['stage'] for row in rows} == {stage.name for stage in gpu_run.STAGES}
    assert {row['status'] for row in rows} == {'holds', 'reported'}, (tmp_path / 'results.md').read_text()
