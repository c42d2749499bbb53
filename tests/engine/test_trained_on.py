"""Checkpoints record what they were trained on, through resuming, other data and load_from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import finish, start
from torch.utils.data import ConcatDataset
from toy import ToyDataset, make_config, model_of

from lisa_mm.checkpoints.ledger import IMAGES, RECORD, Ledger, read_ledger
from lisa_mm.datasets import BaseSegDataset, MixtureDataset
from lisa_mm.datasets.base import Asked
from lisa_mm.engine import LisaRunner
from lisa_mm.engine.trained_on import describe_ledger, ledger_of


class Pictures(BaseSegDataset):
    """A plugin without source files, whose items are the toy's."""

    def __init__(self, numbers: list[int], split: Any = 'train'):
        self.numbers, self.split = numbers, split
        super().__init__()

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{'sample_id': str(n), 'img_path': f'/nowhere/{n:012d}.jpg'} for n in self.numbers]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return Asked([], [])

    def __getitem__(self, n: int) -> dict[str, Any]:
        return ToyDataset()[n]


def train(folder: Path, dataset: Any, **options: Any) -> None:
    options = {'strategy': 'LisaSingleDeviceStrategy', 'max_iters': 2, 'accumulation': 1, 'work_dir': str(folder), **options}
    model = model_of(options)
    config = make_config(options, model)
    config['train_dataloader'] |= {'dataset': dataset}
    LisaRunner(model, **config).train()


def recorded(folder: Path) -> list[tuple[str, int]]:
    ledger = read_ledger(folder)
    assert ledger is not None
    return [(one.name, len(one.images)) for one in ledger.data_sets]


def test_groups_wrappers_and_what_has_no_images():
    mixture = MixtureDataset({'refer_seg': [Pictures([1, 2])], 'mine': [Pictures([2], split=['a'])]}, rates={'mine': 1})
    ledger = ledger_of(ConcatDataset([mixture, ToyDataset(), Pictures([4, 4])]))
    entries = [(one.name, one.type, one.split, one.records, len(one.images)) for one in ledger.data_sets]
    assert entries == [
        ('refer_seg: Pictures', 'Pictures', 'train', 2, 2),
        ('mine: Pictures', 'Pictures', None, 1, 1),
        ('Pictures', 'Pictures', 'train', 2, 1),
    ]
    assert ledger.unknown == ('ToyDataset does not derive from BaseSegDataset: its images are not known',)
    assert describe_ledger(ledger) == (
        'checkpoints record what they were trained on: 3 data sets with 3 images; '
        'ToyDataset does not derive from BaseSegDataset: its images are not known'
    )
    assert ledger_of(None) == Ledger()
    assert describe_ledger(ledger_of(Pictures([1]))).endswith(': 1 data set with 1 image')
    assert describe_ledger(Ledger()).endswith(': no data set is known')


def test_held_out_images_are_not_in_it():
    mixture = MixtureDataset({'refer_seg': [Pictures([1, 2, 3])]})
    mixture.members()[0].restrict([0, 2], 'held out')
    (entry,) = ledger_of(mixture).data_sets
    assert (entry.records, entry.images.tolist()) == (2, ledger_of(Pictures([1, 3])).data_sets[0].images.tolist())


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp('first')
    train(folder, Pictures([1, 2, 3]), save_best=None)
    return folder


def test_a_resumed_run_adds_other_data(first, tmp_path):
    assert recorded(first) == [('Pictures', 3)]
    train(tmp_path / 'same', Pictures([1, 2, 3]), max_iters=3, resume=str(first))
    assert recorded(tmp_path / 'same') == [('Pictures', 3)]
    train(tmp_path / 'other', Pictures([3, 4]), max_iters=3, resume=str(first))
    assert recorded(tmp_path / 'other') == [('Pictures', 3), ('Pictures', 2)]


def test_load_from_hands_it_on(first, tmp_path):
    train(tmp_path, Pictures([9]), load_from=str(first))
    assert recorded(tmp_path) == [('Pictures', 3), ('Pictures', 1)]
    assert read_ledger(tmp_path) is not None


def test_weights_without_a_record_leave_a_gap_that_is_said(first, tmp_path):
    train(tmp_path / 'old', Pictures([1, 2]))
    for name in (RECORD, IMAGES):
        (tmp_path / 'old' / 'iter_2' / name).unlink()
    said = 'the training began with iter_2, which has no record of what it was trained on'
    for way in ('load_from', 'resume'):
        train(tmp_path / way, Pictures([3]), max_iters=3, **{way: str(tmp_path / 'old')})
        ledger = read_ledger(tmp_path / way)
        assert ledger is not None
        assert ledger.unknown == (said,)
        assert recorded(tmp_path / way) == [('Pictures', 1)]


@pytest.mark.slow
def test_the_first_of_two_processes_writes_it(tmp_path):
    finish(start([{'work_dir': str(tmp_path / 'run'), 'max_iters': 2, 'stage': 3}], processes=2))
    record = json.loads((tmp_path / 'run' / 'iter_2' / RECORD).read_text())
    assert record['unknown'] == ['ToyDataset does not derive from BaseSegDataset: its images are not known']
