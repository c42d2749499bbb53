"""Training with features on disk: losses with the cache off, cold and warm."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from lisa_mm.apis.training import build_runner
from lisa_mm.models import LISA
from lisa_mm.testing.tiny import MODEL, training, write_pictures


def source_of(folder: Path, cache: Any = None, **changes: Any):
    source = training(copy.deepcopy(MODEL), folder, LISA)
    source.train_cfg.max_iters = 3
    source.default_hooks.checkpoint.interval = 10
    for key, value in changes.items():
        source.merge_from_dict({key.replace('__', '.'): value})
    if cache is not None:
        source.cache_features = cache
    return source


class Losses:
    """Runs a training and keeps its losses and how often each encoder ran."""

    def __init__(self, source, work_dir, **settings):
        runner = build_runner(source, work_dir, **settings)
        self.runner = runner
        self.losses: list[dict[str, float]] = []
        self.encoded = {'vision_tower': 0, 'image_encoder': 0}
        loop: Any = runner._train_loop
        from mmengine.hooks import Hook

        outer = self

        class Record(Hook):
            def before_train(self, runner):
                model = runner.strategy.module
                for name, module in (
                    ('vision_tower', model.mllm.vision_tower),
                    ('image_encoder', model.mask_decoder.image_encoder),
                ):
                    module.register_forward_pre_hook(lambda m, args, name=name: outer.count(name, args[0]))

            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                outer.losses.append(dict(outputs))

        runner.register_hook(Record())
        runner.train()
        del loop

    def count(self, name, pixels):
        self.encoded[name] += len(pixels)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    write_pictures(folder)
    return folder


def test_off_cold_and_warm_are_equal(pictures, tmp_path):
    torch.manual_seed(0)
    off = Losses(source_of(pictures), tmp_path / 'off')
    cold = Losses(source_of(pictures, {'folder': str(tmp_path / 'store')}), tmp_path / 'cold')
    warm = Losses(source_of(pictures, {'folder': str(tmp_path / 'store')}), tmp_path / 'warm')
    print(off.losses, cold.losses, warm.losses, off.encoded, cold.encoded, warm.encoded)
    assert cold.losses == warm.losses == off.losses
    assert warm.encoded == {'vision_tower': 0, 'image_encoder': 0}
