"""The examples of tools/compare.py, and docs/evaluate.md."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from .making import write_model

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'compare.py'
PAGE = (ROOT / 'docs' / 'evaluate.md').read_text(encoding='utf-8')


def examples() -> list[str]:
    """The commands at the end of --help."""
    nodes = ast.walk(ast.parse(TOOL.read_text(encoding='utf-8')))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [line.strip() for text in texts if text.startswith('examples:') for line in text.splitlines()[1:]]


COMMANDS = [
    line for block in re.findall(r'```sh\n(.*?)```', PAGE, flags=re.S) for line in block.splitlines() if 'compare.py' in line
]


@pytest.fixture
def place(two, tmp_path, monkeypatch):
    """A folder with results/mine and results/other."""
    (tmp_path / 'results').mkdir()
    for folder, name in zip(two, ('mine', 'other'), strict=True):
        (tmp_path / 'results' / name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool; its exit status, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *words])
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_there_are_examples():
    assert len(examples()) == 3 and len(COMMANDS) >= 3


@pytest.mark.parametrize('line', [*examples(), *COMMANDS])
def test_an_example(line, run, place):
    python, tool, *words = shlex.split(line.partition('  #')[0])
    assert (python, tool) == ('python', 'tools/compare.py')
    status, out, err = run(*words)
    assert status == 0, err
    written = re.findall(r'^written: (.*)$', err, flags=re.M)
    assert written == [words[words.index(option) + 1] for option in ('--out', '--report') if option in words]
    assert all((place / name).stat().st_size > 1000 for name in written)
    assert bool(out) == ('--out' not in words)


@pytest.mark.parametrize(
    ('words', 'status', 'fault'),
    [
        (['nowhere'], 1, 'error: nowhere is missing. Give a folder or results.json that tools/test.py --out wrote.'),
        (['results/mine', 'results/mine'], 1, 'is given 2 times'),
        (['results/mine', '--out', 'no/such/file.md'], 1, 'no/such/file.md cannot be written'),
        (['results/mine', '--report', 'results'], 1, 'results is a folder'),
        (['results/mine', '--format', 'html'], 2, 'invalid choice'),
        ([], 2, 'the following arguments are required: FOLDER'),
    ],
)
def test_faults(words, status, fault, run, place):
    found, out, err = run(*words)
    assert (found, out) == (status, '')
    assert fault in err and 'Traceback' not in err


def test_results_of_another_format(run, tmp_path):
    folder = write_model(tmp_path / 'a', 'a', [])
    path = folder / 'results.json'
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    status, _, err = run(str(folder))
    assert status == 1 and 'has format 7; this version reads format 1. Evaluate again.' in err
