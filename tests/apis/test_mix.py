"""lisa_nano_mix.py on the miniature of every format: trains on all four groups, resumes, validates on both validation sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lisa_mm.config import compile_config, datasets_in, load_config
from lisa_mm.datasets.mixture import RATES
from lisa_mm.registry import DATASETS

from ..datasets.golden_root import GOLDEN

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'lisa' / 'lisa_nano_mix.py'
STEPS = 100


def test_data_root_reaches_every_data_set_of_the_mixture():
    compiled = compile_config(load_config(CONFIG, options=['data_root=some where/a']))
    found = [entry for entry, _ in datasets_in(compiled.train_dataloader.dataset, '')]
    assert len(found) == 16  # the mixture, 11 data sets, 4 held out
    assert {entry.get('data_root') for entry in found[1:]} == {'some where/a'}
    assert compiled.val_dataloader.dataset.data_root == 'some where/a'


def run(*words):
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_train_resume_and_validate(tmp_path):
    work = tmp_path / 'work'
    options = [
        f'data_root={GOLDEN}',
        f'train_cfg.max_iters={STEPS}',
        'train_cfg.val_interval=0',
        'default_hooks.checkpoint.interval=50',
    ]
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0']
    text = run('tools/train.py', CONFIG, '--work-dir', work, '--cfg-options', *options)
    assert 'exclude_val' in text
    options[1] = f'train_cfg.max_iters={STEPS + 10}'
    text = run('tools/train.py', CONFIG, '--work-dir', work, '--resume', '--cfg-options', *options)
    assert f'resumed at iteration {STEPS}' in text
    for split in ('val', 'test'):
        lines = run('tools/test.py', work, '--split', split).splitlines()
        count = next(int(line.split('n=')[1]) for line in lines if line.startswith('RESULT '))
        assert count == masks_of(work / 'config.py', split)


def test_the_steps_draw_all_four_groups():
    entry = compile_config(load_config(CONFIG, options=[f'data_root={GOLDEN}'])).train_dataloader
    mixture = DATASETS.build({key: value for key, value in entry.dataset.items() if key != 'pipeline'})
    assert {mixture.draw(n)[0] for n in range(STEPS * entry.batch_size)} == set(RATES)


def masks_of(config, split):
    """Masks of an evaluation set, from its own items."""
    entry = dict(compile_config(load_config(config))[f'{split}_dataloader'].dataset)
    dataset = DATASETS.build({key: value for key, value in entry.items() if key != 'pipeline'})
    return sum(len(dataset[n]['encoded_masks']) for n in range(len(dataset)))
