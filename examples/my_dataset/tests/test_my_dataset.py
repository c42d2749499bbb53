"""Each part by check_part, what they do on their own, and that a clash of names is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import my_dataset
import numpy as np
import pytest
import torch
from PIL import Image

from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import DataError
from lisa_mm.registry import DATASETS, LOSSES, PROJECTORS, TRANSFORMS
from lisa_mm.testing import check_part

DATA = Path(__file__).parents[1] / 'data'
TOKENIZER = 'weights://nano/tokenizer'
LANGUAGE = dict(type='RecurrentLM', tokenizer=TOKENIZER)
PARTS = [
    dict(type='BoxDataset', data_root=str(DATA)),
    dict(type='GreyImage'),
    dict(type='PatchTower'),
    dict(type='GatedProjector'),
    LANGUAGE,
    dict(
        type='PooledLlava',
        vision_tower=dict(type='PatchTower'),
        projector=dict(type='GatedProjector'),
        language_model=LANGUAGE,
    ),
    dict(type='NormedSegHead'),
    dict(type='DotProductDecoder', image_encoder=dict(type='ConvEncoder')),
    dict(type='ConvEncoder'),
    dict(type='FocalMaskLoss'),
]


@pytest.mark.parametrize('part', PARTS, ids=[part['type'] for part in PARTS])
def test_a_part_works_everywhere(part):
    settings: dict[str, Any] = {'mask_decoder': dict(type='DotProductDecoder')} if part['type'] == 'ConvEncoder' else {}
    assert check_part(part, **settings)


@pytest.fixture
def root(tmp_path):
    Image.fromarray(np.full((8, 10, 3), (200, 100, 0), np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'train.csv').write_text('image,name,left,top,right,bottom\na.png,the left half,0,0,5,8\na.png,the top,0,0,10,2\n')
    return tmp_path


def test_boxes_become_masks(root):
    dataset = my_dataset.BoxDataset(str(root), pipeline=[LoadImage(), DecodeMasks()], test_mode=True)
    assert [int(mask.sum()) for mask in dataset[0]['gt_masks']] == [40, 20]


@pytest.mark.parametrize(
    ('line', 'fault'),
    [
        ('a.png,broken,0,0,x,2', r"train.csv:4: right is 'x', a number is needed"),
        ('a.png,broken,0,0,nan,2', r"train.csv:4: right is 'nan', a number is needed"),
        ('a.png,empty,4,0,4,2', r'train.csv:4: the box .* is empty'),
        ('b.png,no image,0,0,4,2', r'train.csv:4: the image .*b.png is missing'),
        ('a.png,short,0,0,4', r'train.csv:4: 6 values are needed'),
    ],
)
def test_a_broken_line_is_named(root, line, fault):
    with (root / 'train.csv').open('a') as file:
        file.write(line + '\n')
    with pytest.raises(DataError, match=fault):
        my_dataset.BoxDataset(str(root))


def test_a_missing_csv_and_a_missing_column_are_one_error(root):
    with pytest.raises(DataError, match=r'val.csv is missing or unreadable \(No such file or directory\). Look at data_root'):
        my_dataset.BoxDataset(str(root), file='val.csv')
    (root / 'val.csv').write_text('image,name,left,top,right\n')
    with pytest.raises(DataError, match=r'bottom is missing'):
        my_dataset.BoxDataset(str(root), file='val.csv')


def test_grey_is_a_function_of_the_samples_rng():
    image = np.full((2, 2, 3), (30, 60, 90), np.uint8)
    always = my_dataset.GreyImage(1.0).transform({'img': image, 'rng': np.random.default_rng(0)})
    assert always['img'].tolist() == np.full((2, 2, 3), 60).tolist()


def test_focal_loss_of_gamma_zero_is_cross_entropy():
    logits, targets = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert torch.allclose(my_dataset.FocalMaskLoss(gamma=0.0).mask_loss(logits, targets), wanted)


def test_the_registries_know_the_parts_and_refuse_a_second_of_a_name():
    for registry, name in (
        (DATASETS, 'BoxDataset'),
        (TRANSFORMS, 'GreyImage'),
        (PROJECTORS, 'GatedProjector'),
        (LOSSES, 'FocalMaskLoss'),
    ):
        part = registry.get(name)
        assert part is not None
        with pytest.raises(KeyError, match=f'{name} is already registered'):
            registry.register_module(name=name, module=type(name, (part,), {}))
