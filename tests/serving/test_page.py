"""The clients of docs/serve.md, as they stand there, ask a server; its tables say what the tool does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from .running_server import picture, served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'serve.md').read_text(encoding='utf-8')
CURL = [block.strip() for block in re.findall(r'```bash\n(.*?)```', PAGE, flags=re.S) if 'curl' in block]
PYTHON = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)


@pytest.fixture(scope='module')
def run(inferencer, tmp_path_factory):
    """Run a command beside an image, while a model answers."""
    folder = tmp_path_factory.mktemp('client')
    Image.fromarray(picture(3, 48, 64)).save(folder / 'street.jpg')
    with served(inferencer, name='lisa_nano') as server:

        def run(*command):
            words = [word.replace('http://127.0.0.1:8000', server.address) for word in command]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield run


def test_the_page_has_three_clients():
    assert len(CURL) == 1
    assert ['httpx' in code for code in PYTHON] == [True, False]
    assert 'OpenAI(' in PYTHON[1]


def test_curl(run):
    answers = json.loads(run('bash', '-c', CURL[0]))['answers']
    assert [answer['question'] for answer in answers] == ['the red cup', 'What could roll away?']
    assert {(answer['height'], answer['width']) for answer in answers} == {(48, 64)}


def test_python(run):
    text, *masks = run(sys.executable, '-c', PYTHON[0]).splitlines()
    assert '[SEG]' in text or masks
    assert "'size': [48, 64]" in masks[-1]


def test_the_openai_package(run):
    said = run(sys.executable, '-c', PYTHON[1])
    assert '[SEG]' in said
    assert re.search(r'^\[\[\d+, \d+, \d+, \d+\]', said, flags=re.M)
    assert re.search(r'\d+ masks$', said.strip())


def test_the_table_of_limits():
    shown = subprocess.run(
        [sys.executable, 'tools/serve.py', '--help'], cwd=ROOT, capture_output=True, text=True, check=True, env={'COLUMNS': '300'}
    ).stdout
    rows = re.findall(r'^\| [^|]+ \| `(--[a-z-]+)` \| (\d+)', PAGE, flags=re.M)
    named = re.findall(r'`(--(?:batch|wait-ms|remember|grace))` \((\d+)\)', PAGE)
    assert len(rows) == 7 and len(named) == 4
    for option, default in [*rows, *named]:
        assert re.search(rf'{option} [A-Z_]+\s.*\(default: {default}\)', shown), option
    given = set(re.findall(r'(?<!-)(--[a-z-]+)', shown)) - {'--help', '--device', '--dtype'}
    named_on_page = set(re.findall(r'(?<![\w-])(--[a-z][a-z-]+)', PAGE))
    assert named_on_page - {'--model'} == given  # which is the benchmark's
