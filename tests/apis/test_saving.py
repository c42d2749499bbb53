"""What an answer leaves on disk."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lisa_mm.apis.answers import Answer
from lisa_mm.apis.saving import save_answer


@pytest.mark.parametrize('count', [0, 1, 3])
def test_every_mask_is_saved(tmp_path, count):
    """The original saved only the first of several masks."""
    masks = np.zeros((count, 4, 6), dtype=bool)
    for k in range(count):
        masks[k, k, 0] = True  # mask k is the pixel in row k
    grey = np.full((4, 6, 3), 90, np.uint8)
    answer = Answer('[SEG]' * count, masks, masks.astype(np.float32), image=grey, name='photos/street.jpg')
    files = save_answer(answer, tmp_path / 'out')
    assert [file.name for file in files] == [*(f'street_mask_{k}.png' for k in range(count)), 'street_overlay.png']
    for k in range(count):
        assert np.argwhere(np.array(Image.open(files[k]))).tolist() == [[k, 0]]
