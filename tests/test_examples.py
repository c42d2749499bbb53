"""Each example that a command shows in its --help is run, on small data, or names the test that runs it."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .datasets.golden_root import GOLDEN

ROOT = Path(__file__).parents[1]
SOURCES = [*ROOT.glob('tools/*.py'), *ROOT.glob('projects/nano/commands/*.py'), ROOT / 'benchmarks' / 'commands.py']
MODELS = GOLDEN.parent / 'models'

# Small things in place of large ones: published weights, many steps, many scenes
SMALL = {
    r'\bDIR\b': 'data/lisa',
    r'\bLISA-7B-v1\b': f'{MODELS}/lisa-tiny-hf',
    r'\bllava-v1\.5-7b\b|\bLLaVA-Lightning-7B-v1-1\b': f'{MODELS}/llava-tiny-base',
    r'\bclip-vit-large-patch14\b': f'{MODELS}/clip-vit-tiny-patch14',
    r'\bsam_vit_h_4b8939\.pth\b': f'{MODELS}/sam_vit_tiny.pth',
    r'\bpytorch_model\.bin\b': f'{MODELS}/train_state/pytorch_model.bin',
    r'work_dirs/lisa_7b_mix LISA-mine': 'models/lisa_7b LISA-mine',
    r'max_iters=100\b': 'max_iters=1',
    r'iter_900': 'iter_1',
    r'--batch-sizes 1 4': '--batch-sizes 1 --images 1 --rounds 1',
    r'--items 2000': '--items 4',
    r'answers --model work_dirs/lisa_nano': 'answers --model work_dirs/lisa_nano --rounds 1 --tokens 2',
    r'--pretrain 12000': '--pretrain 3 --limit 6',
    r'train_tower\.py work_dirs/nano_tower': 'train_tower.py work_dirs/nano_tower --scenes 3 --steps 2 --workers 1',
    r'import-memory --size 3GB --shard 500MB': 'import-memory --size 10MB --shard 5MB',
}
# What needs more than this: where it is run, or why it is not
ELSEWHERE = {
    'tools/infer.py': 'tests/test_ask_page.py',
    'tools/chat.py': 'tests/test_ask_page.py',
    'tools/serve.py': 'tests/serving/test_running.py',
    'tools/web_demo.py': 'tests/browser/test_tool.py',
    'tools/compare.py': 'tests/reporting/test_compare_tool.py',
    'tools/test.py --predictions': 'tests/apis/test_benchmark_tool.py',
    'tools/export_parts.py': 'tests/apis/test_run.py',
    'tools/make_emoji_scenes.py': 'tests/projects/nano/test_emoji.py',
    'tools/benchmark.py speed': 'tests/benchmarks/test_speed.py',
    'tools/benchmark.py paper': 'tests/benchmarks/test_paper.py',
    'tools/benchmark.py memory': 'tests/benchmarks/test_memory.py',
    'tools/benchmark.py data': 'tests/benchmarks/test_commands.py',
    'tools/benchmark.py serving': 'tests/benchmarks/test_commands.py',
}
NOT_RUN = {
    'tools/align_head.py': 'needs two trained models; tests/projects/nano/test_aligning.py has its parts',
    'tools/ship_nano.py': 'writes into the package; tests/projects/nano/test_shipping.py has its parts',
    'tools/unpack_smollm2.py': 'needs a wheel of 100 MB; tests/projects/nano/test_gguf.py has its parts',
    'torchrun': 'starts eight processes; tests/apis/test_testing.py has two',
    'deepspeed': 'starts a process for each GPU',
    'tools/list_parts.py --config examples': 'needs the package of the line before; tests/examples installs it',
}


def examples() -> list[str]:
    """The commands at the end of each --help."""
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match('examples?:', node.value):
                lines = node.value.replace('\\\n', ' ').splitlines()
                found += [' '.join(line.split()) for line in lines if 'tools/' in line]
    return sorted(set(found), key=lambda line: ('import ' not in line, line))  # others need what was imported


def among(line: str, table: dict[str, str]) -> str | None:
    return next((value for key, value in table.items() if key in line), None)


HERE = [line for line in examples() if not among(line, ELSEWHERE) and not among(line, NOT_RUN)]


@pytest.fixture(scope='module')
def place(tmp_path_factory, demo):
    """A folder in which the commands find what they name."""
    folder = tmp_path_factory.mktemp('examples')
    for name in ('configs', 'lisa_mm', 'examples'):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(demo, folder / 'data' / 'demo')
    shutil.copytree(GOLDEN, folder / 'data' / 'lisa')
    splits = folder / 'data' / 'lisa' / 'reason_seg' / 'ReasonSeg'
    shutil.copytree(splits / 'val', splits / 'test')
    (folder / 'my').mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / 'my' / 'a.jpg')
    annotation = {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [[5, 5, 30, 5, 30, 30]], 'iscrowd': 0}
    coco = {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 40, 'width': 50}],
        'annotations': [annotation],
        'categories': [{'id': 1, 'name': 'cup'}],
    }
    (folder / 'my' / '_annotations.coco.json').write_text(json.dumps(coco))
    return folder


@pytest.fixture(scope='module')
def trained(place):
    """work_dirs/lisa_nano after one step, by the example of tools/train.py."""
    (line,) = (line for line in HERE if 'tools/train.py' in line)
    words = shlex.split(small(line))
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / words[1]), *words[2:]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-2500:]
    return place


def small(line: str) -> str:
    for pattern, replacement in SMALL.items():
        line = re.sub(pattern, replacement, line)
    return line.split('  #')[0].split(' # ')[0]


@pytest.mark.slow
@pytest.mark.parametrize('line', [line for line in HERE if 'tools/train.py' not in line])
def test_an_example(line, trained, monkeypatch, capsys):
    python, tool, *words = shlex.split(small(line))
    assert python == 'python'
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, 'argv', [tool, *words])
    monkeypatch.setattr(sys, 'path', [*sys.path])
    before = {path for path in trained.rglob('*') if not path.is_symlink()}
    try:
        runpy.run_path(str(ROOT / tool), run_name='__main__')
        status = 0
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert not status, printed.out[-1500:] + printed.err[-1500:]
    assert printed.out.strip() or {path for path in trained.rglob('*') if not path.is_symlink()} - before


def test_the_other_examples_are_run_where_it_says():
    shown = examples()
    assert len(HERE) >= 12
    for table in (ELSEWHERE, NOT_RUN):
        for key in table:
            assert any(key in line for line in shown), f'{key} is in no --help: take it out of the table'
    for key, test in ELSEWHERE.items():
        tool, _, part = Path(key).name.partition('.py')
        text = (ROOT / test).read_text(encoding='utf-8')
        assert (part.strip() or tool) in text, f'{test} does not run {key}'
