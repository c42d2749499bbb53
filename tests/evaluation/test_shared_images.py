"""Images of a split that are in the training data."""

from __future__ import annotations

import random

import pytest

from lisa_mm.checkpoints.ledger import Ledger, TrainedOn
from lisa_mm.datasets.identities import identities
from lisa_mm.evaluation.results import SharedImages
from lisa_mm.evaluation.shared_images import find_shared, shared_line

from ..datasets.test_identities import Listed


def coco(number: int) -> str:
    return f'/nowhere/{number:012d}.jpg'


def trained_on(tmp_path, title: str, numbers, group: str | None = None) -> TrainedOn:
    dataset = Listed(tmp_path, [coco(n) for n in numbers] or [None])
    images = identities(dataset)
    return TrainedOn(title=title, type='Listed', group=group, split=None, records=len(numbers), images=images)


def test_shared_images_equal_a_count_of_sets(tmp_path):
    for seed in range(50):
        rng = random.Random(seed)
        numbers = range(rng.choice([3, 30]))
        split = [n for n in numbers if rng.random() < 0.6] or [0]
        sets = {f's{k}': [n for n in numbers if rng.random() < 0.3] for k in range(rng.randrange(4))}
        ledger = Ledger(tuple(trained_on(tmp_path, name, given) for name, given in sets.items()))
        found = find_shared(ledger, Listed(tmp_path, [coco(n) for n in split + split[:2]]))
        wanted = [name for name, given in sets.items() if set(given) & set(split)]
        assert found == SharedImages(images=len(set(split) & set().union(*sets.values())), data_sets=wanted), seed


def test_two_states_of_one_data_set_count_together(tmp_path):
    ledger = Ledger((trained_on(tmp_path, 'mine', [1, 2]), trained_on(tmp_path, 'mine', [3])))
    split = Listed(tmp_path, [coco(n) for n in (1, 3, 4)])
    assert find_shared(ledger, split) == SharedImages(images=2, data_sets=['mine'])


def test_what_is_not_known_is_not_denied(tmp_path):
    split = Listed(tmp_path, [coco(1), coco(2)])
    known = trained_on(tmp_path, 'mine', [1], group='refer_seg')
    assert find_shared(None, split) is None
    assert find_shared(Ledger(), split) == SharedImages(images=0, data_sets=[])
    assert find_shared(Ledger(unknown=('imported',)), split) is None
    assert find_shared(Ledger((known,), ('imported',)), split) == SharedImages(images=1, data_sets=['refer_seg: mine'])


def test_a_split_of_text_alone_shares_nothing(tmp_path):
    ledger = Ledger((trained_on(tmp_path, 'mine', [1]),))
    assert find_shared(ledger, Listed(tmp_path, [None])) == SharedImages(images=0, data_sets=[])


@pytest.mark.parametrize(
    ('shared', 'images', 'line'),
    [
        (
            (1500, ['refer_seg: refcoco (unc) train']),
            1500,
            '1,500 of 1,500 images are in the training data (refer_seg: refcoco (unc) train)',
        ),
        ((1, ['a', 'b: c']), 2, '1 of 2 images is in the training data (a, b: c)'),
        ((0, []), 7, '0 of 7 images are in the training data'),
    ],
)
def test_the_line(shared, images, line):
    assert shared_line('refCOCO val', SharedImages(images=shared[0], data_sets=shared[1]), images) == f'refCOCO val: {line}'
