"""The pictures of a sheet of samples."""

from __future__ import annotations

import numpy as np

from lisa_mm.doctor.preview import with_masks


def test_each_mask_in_its_own_colour_without_ignored_pixels():
    image = np.full((40, 60, 3), (230, 30, 40), np.uint8)
    masks = np.zeros((2, 40, 60), np.uint8)
    masks[0, 5:30, 5:25] = masks[1, 5:30, 35:55] = 1
    masks[1, 31:] = 255
    drawn = with_masks(image, masks)
    assert len({tuple(drawn[17, 15]), tuple(drawn[17, 45]), tuple(image[0, 0])}) == 3
    assert (drawn[36:] == image[36:]).all()
    assert (with_masks(image, masks[:0]) == image).all()
