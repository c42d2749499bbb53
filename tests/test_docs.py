"""The commands of docs/train_on_my_data.md, as they stand there, on a miniature; the weights that docs/swap_a_part.md lists."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.config import compile_config, load_config

from .datasets.golden_root import GOLDEN

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'train_on_my_data.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'```sh\n(.*?)```', PAGE, flags=re.S) for line in block.splitlines()]
ROWS = [json.loads(line) for line in re.search(r'```json\n(.*?)```', PAGE, flags=re.S)[1].splitlines()]  # pyright: ignore[reportOptionalSubscript] - it is there


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The rows of the page, with images and masks."""
    root = tmp_path_factory.mktemp('my')
    for name in ('images', 'masks'):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for name in ('1.jpg', '2.jpg', '3.jpg'):
        Image.fromarray(rng.integers(256, size=(60, 80, 3), dtype=np.uint8)).save(root / 'images' / name)
    for name in ('1_cup.png', '2_cup.png', '2_pot.png'):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:30, 10:40] = 255
        Image.fromarray(mask).save(root / 'masks' / name)
    (root / 'train.jsonl').write_text('\n'.join(map(json.dumps, ROWS)))
    val = {'image': 'images/3.jpg', 'phrase': 'the cup', 'masks': [[[1, 1], [20, 1], [20, 20]]]}
    (root / 'val.jsonl').write_text(json.dumps(val))
    return root


def run(command, folder, *more):
    words = [re.sub(r'\bMY\b', str(folder), re.sub(r'\bLISA\b', str(GOLDEN), word)) for word in shlex.split(command)]
    words = [word.replace('work_dirs/lisa_my_data', f'{folder}/work') for word in words]
    assert words[0] == 'python'
    done = subprocess.run([sys.executable, *words[1:], *more], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, command + done.stdout[-1500:] + done.stderr[-2500:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('command', COMMANDS)
def test_a_command(command, folder):
    if 'train.py' in command:
        train(folder)
        return
    if 'work_dirs/' in command and not (folder / 'work').exists():
        train(folder)
    run(command, folder)
    if '--out' in command:
        out = folder / Path(command.split('--out ')[1].split()[0]).name
        files = list(out.iterdir()) if out.is_dir() else [out]
        assert sum(file.stat().st_size for file in files) > 1000


def train(folder):
    more = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=1', 'train_dataloader.num_workers=0']
    more += ['train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0', f'work_dir={folder}/work']
    command = next(command for command in COMMANDS if 'train.py' in command)
    run(command, folder, *more)


def test_the_page_names_commands():
    assert len(COMMANDS) == 8
    assert sum('train.py' in command for command in COMMANDS) == 1


@pytest.fixture
def copied_configs(tmp_path):
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    return tmp_path / 'configs' / 'lisa'


def test_the_copy_for_a_large_model(copied_configs):
    found = re.search(r"sed 's/(\w+)/(\w+)/' configs/lisa/lisa_my_data.py", PAGE)
    assert found
    old, new = found.groups()
    path = copied_configs / 'copy.py'
    path.write_text((copied_configs / 'lisa_my_data.py').read_text().replace(old, new))
    source = load_config(path)
    assert source.model == load_config(copied_configs / 'lisa_7b_mix.py').model
    assert [source[key].dataset.type for key in ('train_dataloader', 'val_dataloader')] == ['JsonlSegDataset'] * 2
    compile_config(source)


def test_all_weights_are_listed():
    page = (ROOT / 'docs' / 'swap_a_part.md').read_text(encoding='utf-8')
    files = (ROOT / 'configs' / '_base_').rglob('*.py')
    named = {name for file in files for name in re.findall(r"'pretrained/([^']+)'", file.read_text(encoding='utf-8'))}
    assert len(named) > 40
    listed = set(re.findall(r'`([^`]+)`', page.split('## Weights')[1].split('##')[0]))
    assert named <= listed
