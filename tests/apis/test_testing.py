"""The controls beside an evaluation."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import print_log
from PIL import Image

from lisa_mm.apis.testing import blind_pairs, evaluate, gain_over, score
from lisa_mm.config import load_config
from lisa_mm.datasets import JsonlSegDataset
from projects.nano.demo.writer import write_demo

ROOT = Path(__file__).parents[2]


def test_controls_score_every_mask_that_the_model_is_asked_for(tmp_path):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / '0.png')
    square = [[10, 10], [60, 10], [60, 50], [10, 50]]
    two = {'image': '0.png', 'question': 'q', 'answer': 'A [SEG] and B [SEG].', 'masks': [square, []]}
    rows = [two, {'question': 'What is 7?', 'answer': 'A number.'}, two]
    (tmp_path / 'val.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    pairs = list(blind_pairs(JsonlSegDataset(str(tmp_path), file='val.jsonl', test_mode=True)))
    assert [len(empty) for empty, _ in pairs] == [2, 2]
    assert all(union is None for _, union in pairs)
    # an empty mask is right where nothing is
    assert score([empty for empty, _ in pairs])['gIoU'] == pytest.approx(0.5, abs=1e-5)


def test_a_gain_is_a_mean_over_masks_with_an_interval_over_images():
    """Three masks of two images: IoU 1, 1 and 0 against 0, 0 and 0. An image drawn twice counts twice."""
    right, wrong = (4, 4), (0, 4)
    gain = gain_over([[right, right], [wrong]], [[wrong, wrong], [wrong]])
    assert gain['gain'] == pytest.approx(2 / 3, abs=1e-5)
    assert gain['interval'] == pytest.approx((0, 1), abs=1e-5)  # only the second image, only the first one
    assert np.isnan(gain_over([[]], [[]])['gain'])


CONFIG = """
from mmengine.config import read_base

with read_base():
    from .lisa_nano import *

custom_imports = dict(imports=['count_images'], allow_failed_imports=False)
test_evaluator = [dict(type='SegIoUMetric'), dict(type='ImageCount')]
"""
METRIC = '''
from mmengine.evaluator import BaseMetric

from lisa_mm.registry import METRICS


@METRICS.register_module()
class ImageCount(BaseMetric):
    """How many images were seen."""

    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        return {'images': sum(results)}
'''


def run_tool(folder: Path, data: Path, out: Path, *launcher: str) -> str:
    """What ``tools/test.py`` prints for the nano model before training."""
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(folder)]), 'OMP_NUM_THREADS': '1'}
    options = [
        f'data_root={data}',
        'test_dataloader.dataset.indices=7',
        'test_dataloader.batch_size=2',
        'test_dataloader.num_workers=0',
    ]
    command = [sys.executable, *launcher, str(ROOT / 'tools/test.py'), str(folder / 'configs/lisa/counting.py'), '--initial']
    command += ['--controls', '--out', str(out), '--work-dir', str(folder / out.stem), '--cfg-options', *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_print_the_result_of_one_once(tmp_path):
    """Seven images in batches of two on two processes: none is dropped or counted twice, and every metric reports."""
    (tmp_path / 'count_images.py').write_text(METRIC)
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (tmp_path / 'configs/lisa/counting.py').write_text(CONFIG)
    write_demo(tmp_path / 'data', num_workers=0, limit=9)
    alone = run_tool(tmp_path, tmp_path / 'data', tmp_path / 'one.json')
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    shared = run_tool(tmp_path, tmp_path / 'data', tmp_path / 'two.json', *launcher)
    lines = [[line for line in out.splitlines() if line.startswith('RESULT')] for out in (alone, shared)]
    assert len(lines[0]) == 1
    assert lines[1] == lines[0]
    one, two = (json.loads((tmp_path / name).read_text()) for name in ('one.json', 'two.json'))
    assert one == two
    assert one['metrics']['images'] == 7
    assert len(one['per_mask']) == one['n']
    assert set(one['controls']) == {'empty mask', 'union of all objects', 'question of another object'}
    assert (tmp_path / 'one/pictures/test.png').is_file()


def test_the_log_of_an_evaluation_ends_with_its_folder(demo):
    """A warning after it, in the same process, went to a file in the removed folder."""
    config = load_config(ROOT / 'configs' / 'lisa' / 'lisa_nano.py', (), [f'data_root={demo}', 'test_dataloader.num_workers=0'])
    evaluate(config, None)
    print_log('a later warning', logger='current', level=logging.WARNING)
