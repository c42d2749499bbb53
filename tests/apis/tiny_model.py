"""A small model in a work folder of its own, as training leaves it, for tests that ask it something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lisa_mm.checkpoints import folder as folders
from lisa_mm.config import compile_config
from lisa_mm.models import LISA
from lisa_mm.registry import MODELS
from lisa_mm.testing.tiny import MODEL, training


def write_work_folder(folder: Path, *, seed: int = 0) -> Path:
    """A tiny model with drawn weights; its answers are babble, so tests ask with force_seg or no_text."""
    folder.mkdir(parents=True)
    source = training(MODEL, folder, LISA)
    source.pop('experiment_name')  # the time, so that equal models were different ones
    (folder / 'config.py').write_text(source.pretty_text, encoding='utf-8')
    torch.manual_seed(seed)
    model = MODELS.build(compile_config(source).model.to_dict())
    checkpoint = folder / 'iter_2'
    checkpoint.mkdir()
    digest = folders.write_weights(checkpoint, folders.model_weights(model))
    folders.write_json(checkpoint / folders.FROZEN, folders.describe_frozen(model))
    folders.write_json(checkpoint / folders.META, {'iter': 2, 'weights_sha256': digest})
    return folder


def write_images(folder: Path, *names: str) -> Path:
    """Noise pictures of different sizes."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40 + number, 56, 3), dtype=np.uint8)).save(path)
    return folder
