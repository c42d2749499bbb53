from __future__ import annotations

import pytest

from lisa_mm.engine.strategies.batch import describe_batch, resolve_accumulation
from lisa_mm.errors import ConfigError


def test_the_published_batch():
    accumulation = resolve_accumulation(accumulation=None, target_batch=160, micro_batch=2, world_size=8)
    assert accumulation == 10
    line = 'effective batch 160 = 2 a process x 10 accumulated x 8 processes'
    assert describe_batch(accumulation=accumulation, micro_batch=2, world_size=8) == line


def test_a_target_that_does_not_divide_names_the_valid_ones():
    with pytest.raises(
        ConfigError, match=r'one of \[144, 192, 240\], or train_dataloader.batch_size to one of \[1, 2, 4, 5, 10, 20\]'
    ):
        resolve_accumulation(accumulation=None, target_batch=160, micro_batch=6, world_size=8)


@pytest.mark.parametrize('values', [{'accumulation': 0, 'target_batch': None}, {'accumulation': 2, 'target_batch': 4}])
def test_bad_values_are_errors(values):
    with pytest.raises(ConfigError):
        resolve_accumulation(**values, micro_batch=1, world_size=1)
