"""One door to our own folders."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from lisa_mm import checkpoints
from lisa_mm.checkpoints import folder as folders
from lisa_mm.checkpoints.exported import EXPORT, FORMAT
from lisa_mm.checkpoints.opening import ExportedModel, TrainingCheckpoint
from lisa_mm.errors import CheckpointError


@pytest.fixture
def work_dir(tmp_path):
    """A work folder with a last checkpoint and a better one."""
    model = nn.Linear(2, 2)
    for name, value in (('iter_4', 4.0), ('best_gIoU_iter_2', 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        nn.init.constant_(model.weight, value)
        digest = folders.write_weights(folder, folders.model_weights(model))
        folders.write_json(folder / folders.FROZEN, {})
        folders.write_json(folder / folders.META, {'iter': int(value), 'weights_sha256': digest})
    (tmp_path / 'config.py').write_text('model = dict()')
    return tmp_path


@pytest.mark.parametrize(('prefer', 'name', 'value'), [('last', 'iter_4', 4.0), ('best', 'best_gIoU_iter_2', 2.0)])
def test_a_work_folder_gives_a_checkpoint_with_its_config(work_dir, prefer, name, value):
    opened = checkpoints.open(work_dir, prefer=prefer)
    assert isinstance(opened, TrainingCheckpoint)
    assert opened.folder == work_dir / name
    assert opened.meta['iter'] == value
    assert opened.config == work_dir / 'config.py'
    model = nn.Linear(2, 2)
    opened.load_into(model)
    assert torch.equal(model.weight, torch.full((2, 2), value))


def test_an_exported_folder(tmp_path):
    folders.write_json(tmp_path / EXPORT, {'format': FORMAT, 'parts': []})
    opened = checkpoints.open(tmp_path)
    assert isinstance(opened, ExportedModel)
    assert opened.meta['parts'] == []
    assert opened.config is None


def test_what_is_no_folder_of_ours(tmp_path):
    with pytest.raises(CheckpointError, match='does not exist'):
        checkpoints.open(tmp_path / 'nowhere')
    (tmp_path / 'weights.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match='single file, not a checkpoint folder'):
        checkpoints.open(tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='holds no checkpoint'):
        checkpoints.open(tmp_path)


def test_the_package_alone_loads_no_models():
    program = "import sys, lisa_mm.checkpoints; assert 'lisa_mm.models' not in sys.modules"
    subprocess.run([sys.executable, '-c', program], check=True)
