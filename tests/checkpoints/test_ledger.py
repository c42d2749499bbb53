"""The record of what a model was trained on: written, read, merged, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lisa_mm.checkpoints.folder import META, WEIGHTS
from lisa_mm.checkpoints.ledger import IMAGES, RECORD, Ledger, TrainedOn, read_ledger, write_ledger
from lisa_mm.errors import CheckpointError

BIG = 2**64 - 1


def entry(title: str, images: list[int], **other) -> TrainedOn:
    given = {'type': 'ReferSegDataset', 'group': 'refer_seg', 'split': 'train', 'records': len(images), **other}
    return TrainedOn(title=title, images=np.array(images, np.uint64), **given)


LEDGER = Ledger((entry('refcoco', [1, 5, BIG]), entry('text alone', [], records=9, group=None, split=None)), ('a plugin',))


def checkpoint(folder: Path, ledger: Ledger | None = LEDGER) -> Path:
    folder.mkdir(parents=True)
    for name in (WEIGHTS, META):
        (folder / name).write_text('{}')
    if ledger is not None:
        write_ledger(ledger, folder)
    return folder


def same(one: Ledger, other: Ledger) -> bool:
    return [entry.key for entry in one.data_sets] == [entry.key for entry in other.data_sets] and one.unknown == other.unknown


def test_what_is_written_is_read(tmp_path):
    found = read_ledger(checkpoint(tmp_path / 'iter_1'))
    assert found is not None
    assert same(found, LEDGER)
    assert found.data_sets[0].images.tolist() == [1, 5, BIG]
    assert found.names == ['refer_seg: refcoco', 'text alone']
    assert json.loads((tmp_path / 'iter_1' / RECORD).read_text())['data_sets'][0] == {
        'title': 'refcoco',
        'type': 'ReferSegDataset',
        'group': 'refer_seg',
        'split': 'train',
        'records': 3,
        'images': 3,
        'sha256': LEDGER.data_sets[0].sha256,
    }


def test_an_empty_ledger(tmp_path):
    assert read_ledger(checkpoint(tmp_path / 'iter_1', Ledger())) == Ledger()


def test_eight_bytes_an_image(tmp_path):
    write_ledger(Ledger((entry('many', list(range(10_000))),)), tmp_path)
    assert (tmp_path / IMAGES).stat().st_size == 80_000 + 128  # numpy's header


def test_the_best_checkpoint_of_a_work_folder(tmp_path):
    checkpoint(tmp_path / 'iter_2')
    checkpoint(tmp_path / 'best_gIoU_iter_1', Ledger(unknown=('best',)))
    assert read_ledger(tmp_path) == Ledger(unknown=('best',))


def test_none_without_a_record_and_an_error_without_a_checkpoint(tmp_path):
    assert read_ledger(checkpoint(tmp_path / 'iter_1', None)) is None
    file = tmp_path / 'weights.bin'
    file.write_bytes(b'1')
    assert read_ledger(file) is None
    with pytest.raises(CheckpointError, match='does not exist'):
        read_ledger(tmp_path / 'nothing')


def test_merging_keeps_each_data_set_once_and_other_content_as_another_one():
    more = Ledger(
        (entry('refcoco', [1, 5, BIG]), entry('refcoco', [1, 6]), entry('refcoco', [1, 6], group='other')), ('b', 'a plugin')
    )
    merged = LEDGER.merged(more)
    assert [(one.name, one.images.tolist()) for one in merged.data_sets] == [
        ('refer_seg: refcoco', [1, 5, BIG]),
        ('text alone', []),
        ('refer_seg: refcoco', [1, 6]),
        ('other: refcoco', [1, 6]),
    ]
    assert merged.unknown == ('a plugin', 'b')
    assert merged.names == ['refer_seg: refcoco', 'text alone', 'other: refcoco']
    assert same(merged.merged(more), merged)
    assert same(Ledger().merged(LEDGER), LEDGER)


def test_equal_ledgers_are_equal_bytes(tmp_path):
    for name in ('a', 'b'):
        checkpoint(tmp_path / name, Ledger((entry('refcoco', [1, 5]),)))
    for name in (RECORD, IMAGES):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def other_images(folder: Path) -> None:
    np.save(folder / IMAGES, np.array([1, 4, BIG], np.uint64))


def one_image_less(folder: Path) -> None:
    np.save(folder / IMAGES, np.array([1, 5], np.uint64))


def other_kind(folder: Path) -> None:
    np.save(folder / IMAGES, np.array([1.0, 2, 3]))


def other_format(folder: Path) -> None:
    (folder / RECORD).write_text('{"format": "lisa_mm ledger 9"}')


def no_object(folder: Path) -> None:
    (folder / RECORD).write_text('[]')


def cut(folder: Path) -> None:
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-3])


def empty(folder: Path) -> None:
    (folder / IMAGES).write_bytes(b'')


def missing(folder: Path) -> None:
    (folder / IMAGES).unlink()


def misspelt(folder: Path) -> None:
    (folder / RECORD).write_text((folder / RECORD).read_text().replace('"split"', '"spilt"'))


@pytest.mark.parametrize(
    'damage', [other_images, one_image_less, other_kind, other_format, no_object, cut, empty, missing, misspelt]
)
def test_a_damaged_record_is_an_error_that_says_what_to_do(tmp_path, damage):
    folder = checkpoint(tmp_path / 'iter_1')
    damage(folder)
    with pytest.raises(CheckpointError, match=r'trained_on\.json with trained_on\.npy.*damaged.*delete both files'):
        read_ledger(folder)
