"""The training sampler, which never ends and can start anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from lisa_mm.errors import ConfigError
from lisa_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SeekableSampler(Sampler):
    """Yields ever-growing global sample indices; a data set maps each to a sample by a pure function of (seed, index).

    The k-th index of rank r of W with batch size b is ``n = ((k // b) * W + r) * b + k % b``: all ranks together consume
    0, 1, 2, ... in order, for any W. A position is a number of samples of all ranks, so a run goes on with other ranks.

    Args:
        dataset: Not read; the runner passes it to every sampler.
        batch_size: Samples of one process's micro-batch; the runner takes it from the data loader.
        seed: Not read: the order is fixed, and the data set's mapping holds the randomness.
        rank: Rank of this process; by default as launched.
        world_size: Number of processes; by default as launched.

    Example:
        >>> sampler = SeekableSampler([], batch_size=2, rank=1, world_size=2)
        >>> sampler.seek(samples=4)
        >>> indices = iter(sampler)
        >>> [next(indices) for _ in range(4)]
        [6, 7, 10, 11]
    """

    def __init__(
        self,
        dataset: Sized | None = None,
        batch_size: int = 1,
        *,
        seed: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ):
        if batch_size < 1:
            raise ConfigError(f'SeekableSampler.batch_size is {batch_size}; it must be at least 1.')
        launched_rank, launched_world = get_dist_info()
        self.batch_size = batch_size
        self.rank = launched_rank if rank is None else rank
        self.world_size = launched_world if world_size is None else world_size
        self._start = 0

    def seek(self, *, samples: int) -> None:
        """Start the next iteration after this many samples of all ranks together."""
        if samples < 0:
            raise ConfigError(f'SeekableSampler.seek got {samples} samples; it must not be negative.')
        self._start = samples

    def __iter__(self) -> Iterator[int]:
        start, batch = self._start, 0
        while True:
            first = start + (batch * self.world_size + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)
            batch += 1

    def __len__(self) -> int:
        # mmengine needs a length; there is no end
        return sys.maxsize

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: there are no epochs, but mmengine calls it on every sampler."""
