"""``--json`` of every tool: JSON alone on stdout, whatever the config is and whatever libraries print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_mm.command import answer_alone

ROOT = Path(__file__).parents[1]
CONFIG = 'configs/lisa/lisa_nano.py'
# a library that prints from Python, from C and from a child process when the config imports it
NOISY = """import os, sys
print('noise of python')
os.write(1, b'noise of C\\n')
os.system('echo noise of a child')
"""
# words of the command, and what the config adds to lisa_nano's (a fault, or nothing)
COMMANDS = {
    'check_config': (['tools/check_config.py', CONFIG], 'model = dict(no_such_key=1)\nstrategy = dict(zero_stage=9)\n'),
    'list_parts': (['tools/list_parts.py', '--config', CONFIG], ''),
    'data check': (['tools/data.py', 'check', CONFIG, '--no-images'], ''),
    'data stats': (['tools/data.py', 'stats', CONFIG, '--items', '2'], 'train_dataloader = dict(batch_siz=2)\n'),
}


def run(words: list[str], path: Path | None = None) -> subprocess.CompletedProcess:
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [str(path or ''), str(ROOT)]))}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMANDS)
def test_noise_and_faults(tmp_path, demo, name):
    (tmp_path / 'noisy_plugin.py').write_text(NOISY)
    words, fault = COMMANDS[name]
    config = tmp_path / 'noisy.py'
    config.write_text(f"_base_ = ['{ROOT / CONFIG}']\ncustom_imports = dict(imports=['noisy_plugin'])\n{fault}")
    words = [str(config) if word == CONFIG else word for word in words]
    words += ['--json'] if name == 'list_parts' else ['--json', '--cfg-options', f'data_root={demo}']
    done = run(words, tmp_path)
    answer = json.loads(done.stdout)
    for source in ('python', 'C', 'a child'):
        assert f'noise of {source}' in done.stderr
    assert bool(isinstance(answer, dict) and answer.get('faults')) == bool(fault), answer
    assert done.returncode == bool(fault)
    assert 'Traceback' not in done.stderr


def test_every_tool_with_json_is_tried():
    with_json = {path.stem for path in (ROOT / 'tools').glob('*.py') if "'--json'" in path.read_text(encoding='utf-8')}
    assert with_json == {name.split()[0] for name in COMMANDS}
    for stem in with_json:
        assert re.search(r'with answer_alone\(\):', (ROOT / f'tools/{stem}.py').read_text(encoding='utf-8'))


def test_the_descriptor_comes_back(capfd):
    with answer_alone():
        os.write(1, b'noise\n')
        print('more noise')
    print('answer')
    out, err = capfd.readouterr()
    assert (out, err) == ('answer\n', 'noise\nmore noise\n')
