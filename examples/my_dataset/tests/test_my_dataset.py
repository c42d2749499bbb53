"""The parts of this package on their own, and that a clash of names is refused."""

from __future__ import annotations

import my_dataset
import numpy as np
import pytest
import torch
from PIL import Image

from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import DataError
from lisa_mm.registry import DATASETS, LOSSES, PROJECTORS, TRANSFORMS


@pytest.fixture
def root(tmp_path):
    Image.fromarray(np.full((8, 10, 3), (200, 100, 0), np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'boxes.csv').write_text('image,name,left,top,right,bottom\na.png,the left half,0,0,5,8\na.png,the top,0,0,10,2\n')
    return tmp_path


def test_boxes_become_masks(root):
    dataset = my_dataset.BoxDataset(str(root), pipeline=[LoadImage(), DecodeMasks()], test_mode=True)
    assert [int(mask.sum()) for mask in dataset[0]['gt_masks']] == [40, 20]


def test_a_broken_box_is_named(root):
    with (root / 'boxes.csv').open('a') as file:
        file.write('a.png,broken,0,0,x,2\n')
    with pytest.raises(DataError, match=r'boxes.csv:4: four numbers'):
        my_dataset.BoxDataset(str(root))


def test_grey_is_a_function_of_the_samples_rng():
    image = np.full((2, 2, 3), (30, 60, 90), np.uint8)
    always = my_dataset.GreyImage(1.0)({'img': image, 'rng': np.random.default_rng(0)})
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
        with pytest.raises(KeyError, match=f'{name} is already registered'):
            registry.register_module(name=name, module=type(name, (part,), {}))
