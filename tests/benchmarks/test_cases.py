"""Cases of a stage: one that fails, hangs or is killed is an outcome, and the next one runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.stages.cases import Outcome, run_cases

PROGRAM = """
import json, os, signal, sys, time
sys.path.insert(0, {root!r})
from benchmarks.gpu.stages.cases import answer_case, report, run_cases

def measure(name, turn):
    if name == 'too early':
        raise SystemExit('error: no such model')
    turn()
    if name == 'raises':
        raise RuntimeError('CUDA out of memory')
    if name == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if name == 'hangs':
        time.sleep(60)
    return {{'name': name, 'from': os.environ.get('FROM_CASE', '')}}

task = json.loads(sys.argv[1])
answer_case(task, measure)
names = ['too early', 'raises', 'killed', 'hangs', 'good']
for outcome in run_cases(task, names, measure, seconds=2, at_once={at_once}, environment=lambda name: {{'FROM_CASE': name}}):
    report(task, case=outcome.name, status=outcome.status, note=outcome.note, found=outcome.found)
"""


@pytest.mark.parametrize('at_once', [1, 3])
def test_what_goes_wrong_is_an_outcome_and_the_next_case_runs(tmp_path, at_once):
    program = tmp_path / 'stage.py'
    program.write_text(PROGRAM.format(root=str(Path(__file__).parents[2]), at_once=at_once))
    rows = tmp_path / 'stage.jsonl'
    task = {'device': 'cpu', 'small': False, 'rows': str(rows)}
    subprocess.run([sys.executable, str(program), json.dumps(task)], check=True, timeout=60)
    found = {row['case']: row for row in map(json.loads, rows.read_text().splitlines())}
    assert {name: row['status'] for name, row in found.items()} == {
        'too early': 'failed',
        'raises': 'failed',
        'killed': 'failed',
        'hangs': 'timeout',
        'good': 'done',
    }
    assert found['too early']['note'] == 'exit status 1: error: no such model (stage_0.log)'
    assert found['raises']['note'] == 'exit status 1: RuntimeError: CUDA out of memory (stage_1.log)'
    assert found['killed']['note'].startswith('killed by SIGKILL (out of memory')
    assert found['hangs']['note'] == 'stopped after 2 s; see stage_3.log'
    assert found['good']['found'] == {'name': 'good', 'from': 'good'}


def test_a_single_toy_case_needs_no_process(tmp_path):
    task = {'device': 'cpu', 'small': True, 'rows': str(tmp_path / 'rows')}
    outcomes = list(run_cases(task, ['a'], lambda name, turn: {'name': name, 'turn': turn()}, seconds=1))
    assert outcomes == [Outcome('a', 'done', {'name': 'a', 'turn': None})]
