from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lisa_mm.reporting.figures import COLORS, histogram_figure, means_by_size, size_figure, sizes_and_ious

from .test_pairing import FIRST, OTHER, judged


def opened(url: str) -> np.ndarray:
    head, _, data = url.partition(',')
    assert head == 'data:image/png;base64'
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.array(image.convert('RGB'))


def has_color(picture: np.ndarray, number: int) -> bool:
    color = [int(COLORS[number][k : k + 2], 16) for k in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - color).max(-1) < 8).any())


def test_a_histogram_shows_each_model():
    picture = opened(histogram_figure([FIRST, None, OTHER]))
    assert [has_color(picture, n) for n in range(3)] == [True, False, True]


def test_without_questions_the_axes_are_drawn():
    assert not has_color(opened(histogram_figure([[]])), 0)
    assert not has_color(opened(size_figure([None])), 0)


def test_sizes_leave_out_questions_about_nothing():
    rows = [judged(0, 0, (5, 10), targets=[25]), judged(0, 1, (0, 0), targets=[0]), judged(0, 2, (0, 3), targets=[])]
    sizes, ious = sizes_and_ious(rows)
    assert sizes.tolist() == [25] and ious.tolist() == [0.5]  # 25 of 100 pixels
    assert has_color(opened(size_figure([rows])), 0)


def test_several_targets_count_together():
    sizes, _ = sizes_and_ious([judged(0, 0, (5, 10), targets=[5, 10], predicted=[1])])
    assert sizes.tolist() == [15]


def test_means_by_size():
    sizes = np.arange(40.0)[::-1]
    middles, means = means_by_size(sizes, sizes / 100)
    assert middles.tolist() == [4.5, 14.5, 24.5, 34.5]
    assert means == pytest.approx([0.045, 0.145, 0.245, 0.345])
    few, _ = means_by_size(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    assert few.tolist() == [1.5]
    assert len(means_by_size(np.arange(1000.0), np.ones(1000))[0]) == 8
