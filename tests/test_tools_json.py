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
COMMANDS = {
    'check_config': ['tools/check_config.py', CONFIG],
    'list_parts': ['tools/list_parts.py', '--config', CONFIG],
    'data check': ['tools/data.py', 'check', CONFIG, '--no-images'],
    'data stats': ['tools/data.py', 'stats', CONFIG, '--items', '2'],
}


def run(words: list[str], path: Path | None = None) -> subprocess.CompletedProcess:
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [str(path or ''), str(ROOT)]))}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMANDS)
def test_a_noisy_config(tmp_path, demo, name):
    (tmp_path / 'noisy_plugin.py').write_text(NOISY)
    config = tmp_path / 'noisy.py'
    config.write_text(f"_base_ = ['{ROOT / CONFIG}']\ncustom_imports = dict(imports=['noisy_plugin'])\n")
    words = [str(config) if word == CONFIG else word for word in COMMANDS[name]]
    words += ['--json'] if name == 'list_parts' else ['--json', '--cfg-options', f'data_root={demo}']
    done = run(words, tmp_path)
    assert json.loads(done.stdout), done.stderr[-2000:]
    for source in ('python', 'C', 'a child'):
        assert f'noise of {source}' in done.stderr
    # a config with a fault
    broken = tmp_path / 'broken.py'
    broken.write_text(
        config.read_text() + "model = dict(mask_decoder=dict(typ='x'), no_such_key=1)\nstrategy = dict(zero_stage=9)\n"
    )
    if name == 'list_parts':
        broken.write_text("custom_imports = dict(imports=['no_such_module_here'])\n")
    done = run([str(broken) if word == str(config) else word for word in words], tmp_path)
    answer = json.loads(done.stdout)
    assert done.returncode == 1, done.stdout
    assert answer.get('faults') or answer.get('errors'), answer
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
