"""The nano parts' vision tower: labels of patches, and a training of a few steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lisa_mm.errors import UserError
from lisa_mm.models.backbones import CLIPVisionTower
from projects.nano.demo.kinds import COLOURS, KINDS, SIZES
from projects.nano.demo.scenes import Scene, SceneObject
from projects.nano.tower import IMAGE_SIZE, Patches, draw_patches, labels_of, moved, train_tower


def scene_of(*objects) -> Scene:
    """Objects as (kind, colour, size, rows, columns) in an image of 128 x 128 pixels."""
    found = []
    for kind, colour, size, rows, columns in objects:
        mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        mask[rows, columns] = 1
        found.append(SceneObject(kind, colour, size, mask, 1.0, 0.0))
    return Scene('pretrain', 0, np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), found, None, False)


def test_labels_name_the_object_that_fills_most_of_a_patch():
    kinds, colours, sizes = list(KINDS), list(COLOURS), list(SIZES)
    first = (kinds[2], colours[3], sizes[0], slice(0, 16), slice(0, 26))  # a whole patch and 10 columns of the next
    second = (kinds[5], colours[0], sizes[1], slice(0, 16), slice(26, 32))  # 6 columns
    speck = (kinds[1], colours[1], sizes[1], slice(64, 68), slice(64, 68))  # 16 of 256 pixels, less than a tenth
    labels = labels_of(scene_of(first, second, speck))
    wanted = np.zeros((3, 8, 8), np.int64)
    wanted[:, 0, :2] = np.array([3, 4, 1])[:, None]
    assert np.array_equal(labels, wanted)


def test_a_shift_moves_labels_with_their_pixels():
    labels = torch.zeros(1, 3, 8, 8, dtype=torch.int64)
    labels[0, :, 1, 2] = torch.tensor([4, 5, 1])
    pixels = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    pixels[..., 16:32, 32:48] = 9
    pixels[:, 0][pixels[:, 0] > 0] = 7
    rng, places, recoloured = np.random.default_rng(0), set(), 0
    for _ in range(40):
        seen, named = moved(Patches(pixels, labels), np.array([0]), rng)
        (y, x) = named[0, 0].nonzero()[0].tolist()
        assert (seen[0, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] >= 7).all()
        assert int((seen > 0).sum()) == 3 * 256
        kind, colour, size = named[0, :, y, x].tolist()
        assert (kind, size) == (4, 1)
        if colour == 5:
            assert seen[0, :, 16 * y, 16 * x].tolist() == [7, 9, 9]
        else:
            assert colour == -100 and (named[:, 1] == -100).all()
            recoloured += 1
        places.add((y, x))
    assert len(places) > 10 and 5 < recoloured < 20
    assert labels[0, 1, 1, 2] == 5  # what was given stays as it is


def test_scenes_are_drawn_with_every_object():
    patches = draw_patches('pretrain', 4, workers=1)
    assert patches.pixels.shape == (4, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert patches.pixels.dtype == torch.uint8
    for labels in patches.labels:
        assert len(labels.flatten(1).T.unique(dim=0)) >= 6  # six to nine objects and the background
        assert torch.equal(labels[0] > 0, labels[1] > 0) and torch.equal(labels[0] > 0, labels[2] > 0)


def test_a_trained_tower_is_read_by_the_registered_one(tmp_path):
    right = train_tower(tmp_path / 'tower', scenes=4, steps=2, batch=2, workers=1)
    assert list(right) == ['kind', 'colour', 'size'] and all(0 <= share <= 1 for share in right.values())
    tower = CLIPVisionTower(pretrained=str(tmp_path / 'tower'), full_view=True)
    assert (tower.out_channels, tower.num_tokens(*(IMAGE_SIZE,) * 2)) == (128, 64)


def test_numbers_below_one_are_refused(tmp_path):
    with pytest.raises(UserError, match='steps=0'):
        train_tower(tmp_path, steps=0)


def test_a_folder_that_cannot_be_made_is_refused_before_the_training(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='give another folder'):
        train_tower(tmp_path / 'file' / 'tower', scenes=10**9, workers=1)
