"""What all data sets take."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from lisa_mm.apis.listing import describe
from lisa_mm.datasets import (
    JsonlSegDataset,
    PartSegDataset,
    ReasonSegDataset,
    ReasonSegParquetDataset,
    ReferSegDataset,
    SemSegDataset,
    VQADataset,
)
from lisa_mm.datasets.base import BaseSegDataset, SegDatasetOptions
from lisa_mm.datasets.transforms import ResizeForMaskDecoder
from lisa_mm.errors import ConfigError
from lisa_mm.registry import check_arguments

READERS = [JsonlSegDataset, PartSegDataset, ReasonSegDataset, ReasonSegParquetDataset, ReferSegDataset, SemSegDataset, VQADataset]


def test_the_options_are_those_of_the_base():
    taken = get_type_hints(BaseSegDataset.__init__)
    assert get_type_hints(SegDatasetOptions) == {
        name: hint for name, hint in taken.items() if name not in ('data_root', 'return')
    }


@pytest.mark.parametrize('reader', READERS)
def test_options_are_checked_and_listed_as_own_arguments(reader):
    wanted = {name: p.default for name, p in inspect.signature(BaseSegDataset).parameters.items()}
    found = describe(reader)['arguments']
    assert {name: found[name]['default'] for name in wanted} == wanted
    assert found['seed']['about'] == 'Seed of the sampling.'
    with pytest.raises(ConfigError, match=r"takes no argument 'skip_bda'\. Did you mean 'skip_bad'"):
        check_arguments(reader, {'skip_bda': True})
    with pytest.raises(ConfigError, match=r"takes no argument 'options'"):
        check_arguments(reader, {'options': {}})
    with pytest.raises(ConfigError, match=r"seed is '3', but .* takes int\. Write 3 without quotes"):
        check_arguments(reader, {'seed': '3'})


def test_a_spec_must_be_a_dict():
    check_arguments(ResizeForMaskDecoder, {'mask_preprocess': {'image_size': 64, 'resize': 'squash'}})
    with pytest.raises(ConfigError, match=r"mask_preprocess is 'squash', but ResizeForMaskDecoder takes MaskImageSpec"):
        check_arguments(ResizeForMaskDecoder, {'mask_preprocess': 'squash'})
