"""What a tool imports: nothing heavy for its help, and no DeepSpeed for an answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {'torch', 'transformers', 'mmengine', 'mmcv', 'deepspeed', 'peft', 'numpy', 'cv2', 'PIL', 'pydantic', 'starlette'}
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))
COMMANDS = {
    'benchmark.py': ('speed', 'paper', 'data', 'memory', 'start-memory', 'import-memory', 'answers', 'serving', 'evaluation'),
    'convert_checkpoint.py': ('import', 'export'),
    'data.py': ('check', 'stats', 'preview', 'convert', 'import', 'cache'),
}
# runs a tool as its own program would run, then names the modules it has loaded
PROGRAM = """
import runpy, sys
tool, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = tool
try:
    runpy.run_path(tool, run_name='__main__')
except SystemExit as end:
    status = end.code or 0
else:
    status = 0
print('loaded:', *sorted(name for name, module in sys.modules.items() if module is not None and '.' not in name), file=sys.stderr)
sys.exit(status)
"""


def loaded_by(*words: str, folder: Path) -> tuple[set[str], str]:
    """The top-level modules that a tool loads, and its output."""
    command = [sys.executable, '-c', PROGRAM, str(ROOT / 'tools' / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return set(done.stderr.rpartition('loaded:')[2].split()), done.stdout


@pytest.mark.parametrize('tool', TOOLS)
def test_help_loads_nothing_heavy(tool, tmp_path):
    loaded, text = loaded_by(tool, '--help', folder=tmp_path)
    assert text.startswith('usage:')
    assert not loaded & HEAVY


@pytest.mark.parametrize(('tool', 'command'), [(tool, command) for tool, commands in COMMANDS.items() for command in commands])
def test_help_of_a_subcommand_loads_nothing_heavy(tool, command, tmp_path):
    loaded, text = loaded_by(tool, command, '--help', folder=tmp_path)
    assert text.startswith('usage:')
    assert not loaded & HEAVY


@pytest.mark.slow
def test_an_answer_loads_no_deepspeed(tmp_path):
    picture = ROOT / 'lisa_mm' / 'weights' / 'lisa_nano' / 'example.jpg'
    loaded, text = loaded_by('infer.py', 'lisa_nano', str(picture), 'the purple clock', '--out', 'answers', folder=tmp_path)
    assert '[SEG]' in text
    assert 'torch' in loaded and 'deepspeed' not in loaded
