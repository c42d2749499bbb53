"""tools/test.py on benchmarks and on predictions, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


def run_tool(*arguments: object, launcher: tuple[str, ...] = ()) -> str:
    command = [sys.executable, *launcher, str(ROOT / 'tools/test.py'), *map(str, arguments)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def figures(folder: Path) -> list[dict[str, object]]:
    """The runs without what depends on the machine."""
    runs = json.loads((folder / 'results.json').read_text())['runs']
    return [{key: value for key, value in run.items() if key != 'seconds'} for run in runs]


@pytest.mark.slow
def test_two_processes_one_process_and_the_same_masks_from_elsewhere(demo, tmp_path):
    asked = ['lisa_nano', '--benchmarks', 'reasonseg:test', 'grefcoco:testA', '--answers', 'given', 'generated', '--limit', 3]
    data = ['--cfg-options', f'data_root={demo}']
    alone = run_tool(*asked, '--out', tmp_path / 'one', *data, 'test_dataloader.num_workers=0')
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    shared = run_tool(*asked, '--out', tmp_path / 'two', *data, 'test_dataloader.num_workers=0', launcher=launcher)
    lines = [[line for line in text.splitlines() if line.startswith('RESULT')] for text in (alone, shared)]
    assert len(lines[0]) == 1
    assert lines[0] == lines[1]
    assert figures(tmp_path / 'one') == figures(tmp_path / 'two')
    assert {run['protocol'] for run in figures(tmp_path / 'one')} == {'given', 'generated'}
    for name in ('report.html', 'reasonseg_test_given/rows.jsonl', 'grefcoco_testA_generated/coco_results.json'):
        assert (tmp_path / 'two' / name).is_file()
    assert not list((tmp_path / 'two').rglob('part_*'))


@pytest.mark.slow
def test_predictions_score_as_the_model_did(demo, tmp_path):
    data = ['--cfg-options', f'data_root={demo}']
    out = tmp_path / 'out'
    said = run_tool('lisa_nano', '--benchmarks', 'reasonseg:test', '--answers', 'generated', '--out', out, *data)
    masks = out / 'reasonseg_test_generated' / 'coco_results.json'
    again = run_tool('--predictions', masks, '--benchmarks', 'reasonseg:test', '--out', tmp_path / 'again', *data)
    assert said.splitlines()[-1] == again.splitlines()[-1]
    assert said.splitlines()[-1].startswith('RESULT split=test gIoU=')
    first, second = figures(out)[0]['scores'], figures(tmp_path / 'again')[0]['scores']
    assert first == second


def test_what_does_not_go_together(tmp_path):
    for arguments, words in (
        (['--predictions', 'x.json', '--benchmarks', 'refcoco'], 'takes one --benchmarks NAME:SPLIT and --cfg-options data_root'),
        (['lisa_nano', '--benchmarks', 'refcoco', '--controls'], "belong to the config's own data"),
        (['lisa_nano', '--answers', 'given', 'generated'], 'belong to --benchmarks or --out FOLDER'),
        ([], 'give a config and a checkpoint, or one work folder'),
    ):
        command = [sys.executable, str(ROOT / 'tools/test.py'), *arguments]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 2
        assert words in done.stderr
