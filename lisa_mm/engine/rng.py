"""The state of a process's random generators, in types that a weights-only load accepts."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log


def rng_state() -> dict[str, Any]:
    """The states of the generators of python, numpy, torch and the current GPU."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        'python': random.getstate(),
        'numpy': (str(kind), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),  # pyright: ignore[reportAttributeAccessIssue] - numpy's stub has the dict of legacy=False too
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the states that :func:`rng_state` returned."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'])
    if ('cuda' in state) != torch.cuda.is_available():
        machines = 'without a GPU, here is one' if torch.cuda.is_available() else 'with a GPU, here is none'
        print_log(
            f'the checkpoint was written {machines}: dropout draws other numbers than in an uninterrupted run.',
            'current',
            logging.WARNING,
        )
    elif 'cuda' in state:
        torch.cuda.set_rng_state(state['cuda'])


def seed_rng(seed: int) -> None:
    """Begin the generators of python, numpy and torch anew."""
    seed %= 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the random generators after the block.

    A resumed run validates, and creates its data loader's iterator, at other moments than an uninterrupted run;
    neither may change the dropout masks that follow.
    """
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
