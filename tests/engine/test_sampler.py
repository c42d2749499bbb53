from __future__ import annotations

from itertools import islice

import pytest
from torch.utils.data import DataLoader

from lisa_mm.engine import SeekableSampler
from lisa_mm.errors import ConfigError


def take(count: int, *, start: int = 0, batch_size: int = 2, rank: int = 0, world_size: int = 1) -> list[int]:
    sampler = SeekableSampler(None, batch_size, rank=rank, world_size=world_size)
    sampler.seek(samples=start * batch_size * world_size)
    return list(islice(iter(sampler), count))


def test_the_formula():
    world_size, batch_size = 3, 2
    for rank in range(world_size):
        expected = [((k // batch_size) * world_size + rank) * batch_size + k % batch_size for k in range(20)]
        assert take(20, batch_size=batch_size, rank=rank, world_size=world_size) == expected


@pytest.mark.parametrize('world_size', [1, 2, 4, 8])
def test_all_ranks_together_consume_the_indices_in_order(world_size):
    batch_size, batches = 2, 3
    ranks = [take(batch_size * batches, batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    consumed = [
        n for batch in range(batches) for indices in ranks for n in indices[batch * batch_size : (batch + 1) * batch_size]
    ]
    assert consumed == list(range(batch_size * batches * world_size))


def test_seek_equals_dropping_the_first_batches():
    whole = take(40, batch_size=4, rank=1, world_size=2)
    assert take(20, start=5, batch_size=4, rank=1, world_size=2) == whole[20:]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_data_loader_with_workers_gives_the_same_batches(num_workers):
    sampler = SeekableSampler(None, 3, rank=0, world_size=2)
    sampler.seek(samples=12)
    loader = DataLoader(_Identity(), sampler=sampler, batch_size=3, num_workers=num_workers, collate_fn=list)
    assert list(islice(iter(loader), 2)) == [[12, 13, 14], [18, 19, 20]]


def test_bad_values_are_errors():
    with pytest.raises(ConfigError, match='batch_size is 0'):
        SeekableSampler(None, 0)
    with pytest.raises(ConfigError, match='-1 samples'):
        SeekableSampler(None, 1).seek(samples=-1)


class _Identity:
    def __getitem__(self, index: int) -> int:
        return index
