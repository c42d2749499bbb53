"""Filling a feature cache ahead of training."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lisa_mm.apis.caching import fill_cache
from lisa_mm.apis.training import build_runner
from lisa_mm.datasets.feature_store import FeatureStore
from lisa_mm.errors import ConfigError, UserError
from lisa_mm.models import LISA
from lisa_mm.testing.tiny import MODEL, training, write_pictures


@pytest.fixture
def config(tmp_path) -> Path:
    folder = tmp_path / 'data'
    folder.mkdir()
    write_pictures(folder)
    source = training(copy.deepcopy(MODEL), folder, LISA)
    source.cache_features = {'folder': str(tmp_path / 'store')}
    path = tmp_path / 'config.py'
    path.write_text(source.pretty_text, encoding='utf-8')
    return path


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob('*.safetensors'))


@pytest.mark.parametrize('strategy', [{}, {'bf16': True}])
def test_a_training_finds_what_was_filled(config, tmp_path, strategy):
    options = [f'strategy.{key}={value}' for key, value in strategy.items()]
    said: list[str] = []
    filled = fill_cache(config, options=options, workers=0, say=said.append)
    # three pictures for both encoders, the image of text alone for the vision tower
    assert (filled.made, filled.there) == (4, 0)
    found = entries(tmp_path / 'store')
    assert len(found) == 7
    assert 'train: 3 images for vision_tower and image_encoder' in said[0] and 'minutes' in said[0] and 'GiB' in said[0]
    again = fill_cache(config, options=options, workers=1, say=said.append)
    assert (again.made, again.there) == (0, 4)

    from lisa_mm.config import load_config

    runner = build_runner(load_config(config, options=[*options, 'train_cfg.max_iters=6']), tmp_path / 'work')
    runner.train()
    assert entries(tmp_path / 'store') == found


def test_what_is_missing_is_made(config, tmp_path):
    fill_cache(config, workers=0, say=lambda line: None)
    entries(tmp_path / 'store')[0].unlink()
    again = fill_cache(config, workers=0, say=lambda line: None)
    assert (again.made, again.there) == (1, 3)


def test_the_settings_of_the_command_come_first(config, tmp_path):
    settings = {'folder': str(tmp_path / 'other'), 'dtype': 'float16'}
    filled = fill_cache(config, workers=0, settings=settings, say=lambda line: None)
    assert filled.folder == tmp_path / 'other' and len(entries(tmp_path / 'other')) == 7
    assert not entries(tmp_path / 'store')


def test_too_small_a_limit_is_refused_first(config, tmp_path):
    with pytest.raises(ConfigError, match=r'max_gib is 9.97e-08\. Give --max-gib'):
        fill_cache(config, workers=0, settings={'max_gib': 1e-7}, say=lambda line: None)
    assert not entries(tmp_path / 'store')


def test_too_small_a_disk_is_refused_first(config, tmp_path, monkeypatch):
    monkeypatch.setattr(FeatureStore, 'room', lambda store: 10)
    with pytest.raises(UserError, match='GiB more, and the disk'):
        fill_cache(config, workers=0, say=lambda line: None)


def test_a_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / 'store').write_text('a file')
    with pytest.raises(UserError, match='store cannot be written'):
        fill_cache(config, workers=0, say=lambda line: None)


def test_a_config_without_the_split(config):
    with pytest.raises(ConfigError, match='no test_dataloader'):
        fill_cache(config, splits=['test'], say=lambda line: None)


@pytest.mark.slow
def test_two_processes_and_a_killed_one(config, tmp_path):
    command = [sys.executable, 'tools/data.py', 'cache', str(config), '--workers', '0', '--batch-size', '1']
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while killed.poll() is None and not entries(tmp_path / 'store'):
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert 'were there' in out
    again = fill_cache(config, workers=0, say=lambda line: None)
    assert (again.made, again.there) == (0, 4) and len(entries(tmp_path / 'store')) == 7
