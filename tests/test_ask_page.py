"""The commands of docs/ask.md, and the examples of tools/infer.py and tools/chat.py, with the model of the package."""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from .apis.tiny_model import write_images

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'ask.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'```sh\n(.*?)```', PAGE, flags=re.S) for line in block.splitlines()]
TOOLS = ('infer', 'chat')
PRINTED = re.findall(r'```\n(asked: .*?)```', PAGE, flags=re.S)[0]
ROWS = re.findall(r'```json\n(.*?)```', PAGE, flags=re.S)[0]


def examples(tool: str) -> list[str]:
    """The commands at the end of a tool's --help."""
    tree = ast.parse((ROOT / 'tools' / f'{tool}.py').read_text(encoding='utf-8'))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [line.strip() for text in texts if text.startswith('example') for line in text.splitlines()[1:] if line.strip()]


EXAMPLES = [line for tool in TOOLS for line in examples(tool)]


@pytest.fixture(scope='module')
def place(tmp_path_factory, demo):
    """A folder in which the commands find what they name."""
    folder = tmp_path_factory.mktemp('ask')
    (folder / 'lisa_mm').symlink_to(ROOT / 'lisa_mm')
    (folder / 'data').mkdir()
    shutil.copytree(demo, folder / 'data' / 'demo')
    write_images(folder, 'photos/1.jpg', 'photos/2.jpg', 'street.jpg')
    (folder / 'questions.jsonl').write_text(ROWS, encoding='utf-8')
    return folder


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Run a command line in this process."""

    def run(line: str) -> str:
        typed = ''
        if ' | ' in line:
            said, line = line.split(' | ')
            typed = shlex.split(said)[1] + '\n'
        python, tool, *words = shlex.split(line)
        assert python == 'python'
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, 'argv', [tool, *words, '--device', 'cpu'])
        monkeypatch.setattr(sys, 'stdin', io.StringIO(typed))
        try:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        except SystemExit as end:
            status = end.code
        else:
            status = 0
        printed = capsys.readouterr()
        assert not status, printed.err
        return printed.out

    return run


def test_each_command_has_examples():
    assert len(COMMANDS) == 5
    assert all(len(examples(tool)) >= 2 for tool in TOOLS)


@pytest.mark.parametrize('line', [*COMMANDS, *EXAMPLES])
def test_a_command(line, run, place):
    shutil.rmtree(place / 'labels', ignore_errors=True)
    printed = run(line)
    if 'chat.py' in line and '|' not in line:
        return  # no question is asked
    names = [word for word in printed.split() if (place / word).is_file()]
    assert names
    if 'example.jpg' in line:
        assert 'It is [SEG].' in printed
        assert 'chat' in line or PRINTED.splitlines()[:2] == printed.splitlines()[:2]
        page = [] if 'chat' in line else ['page.png']
        assert [name.rpartition('/')[2].rpartition('example_')[2] for name in names] in (
            ['mask_0.png', 'overlay.png', *page],
            ['2_mask_0.png', '2_overlay.png', *(f'2_{name}' for name in page)],
        )
    if '.jsonl' in printed:
        out = Path(names[0]).parent
        answers = [json.loads(row) for row in (place / out / 'answers.jsonl').read_text().splitlines()]
        assert len(answers) == (3 if 'questions.jsonl' in line else 6)
        assert all((place / out / file).is_file() for answer in answers for file in answer['files'])


def test_from_python(place, monkeypatch, capsys):
    code = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)[0]
    monkeypatch.chdir(place)
    found = {}
    exec(compile(code, 'ask.md', 'exec'), found)
    assert len(found['answers']) == 2
    assert (place / 'answers_photos' / '1_overlay.png').is_file()
    assert found['more'].text


def test_the_table_of_chat_commands():
    from lisa_mm.chat.repl import COMMANDS as KNOWN

    table = PAGE.split('## A conversation')[1].split('## From Python')[0]
    assert set(re.findall(r'(/[a-z]+)', ' '.join(re.findall(r'^\| (.*?) \|', table, flags=re.M)))) == set(KNOWN)
