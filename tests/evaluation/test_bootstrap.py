"""Intervals against a plain loop and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lisa_mm.evaluation.bootstrap import interval_of_difference, interval_of_ratio, resamples


def ratio_data(images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    bottoms = rng.integers(1, 50, images)
    return rng.binomial(bottoms, 0.6), bottoms


def test_an_interval_equals_scipys():
    """Within the error of 2,000 draws: the width is about 0.05."""
    tops, bottoms = ratio_data()
    low, high = interval_of_ratio(tops.tolist(), bottoms.tolist())
    other = stats.bootstrap(
        (tops, bottoms),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True,
        method='percentile',
        n_resamples=9999,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert low == pytest.approx(other.low, abs=0.003)
    assert high == pytest.approx(other.high, abs=0.003)
    assert low < tops.sum() / bottoms.sum() < high


def test_a_paired_difference_equals_a_plain_loop():
    tops, bottoms = ratio_data()
    worse = tops * 0.9
    rng = np.random.default_rng(9)
    loop = []
    for _ in range(4000):
        chosen = rng.integers(len(tops), size=len(tops))
        loop.append((tops[chosen].sum() - worse[chosen].sum()) / bottoms[chosen].sum())
    low, high = interval_of_difference((tops.tolist(), bottoms.tolist()), (worse.tolist(), bottoms.tolist()))
    assert (low, high) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.003)
    own = [interval_of_ratio(values.tolist(), bottoms.tolist()) for values in (tops, worse)]
    assert high - low < 0.5 * min(b - a for a, b in own)  # what both share cancels


def test_it_is_the_same_each_time():
    tops, bottoms = ratio_data(7)
    first = interval_of_ratio(tops.tolist(), bottoms.tolist())
    resamples.cache_clear()
    assert interval_of_ratio(tops.tolist(), bottoms.tolist()) == first
    assert interval_of_difference((tops, bottoms), (tops, bottoms)) == (0.0, 0.0)


def test_draws():
    drawn = resamples(5, 100)
    assert drawn.shape == (100, 5)
    assert (drawn.sum(1) == 5).all()
    with pytest.raises(ValueError, match='read-only'):
        drawn[0] = 0  # the next caller gets the same array


def test_nothing_and_next_to_nothing():
    assert np.isnan(interval_of_ratio([], [])).all()
    assert np.isnan(interval_of_ratio([0, 0], [0, 0])).all()
    assert np.isnan(interval_of_difference(([], []), ([], []))).all()
    assert interval_of_ratio([1], [2]) == (0.5, 0.5)
    # a resample without the one image that counts has no ratio and is left out
    assert interval_of_ratio([3, 0], [4, 0]) == (0.75, 0.75)
    with pytest.raises(ValueError, match='the same images on both sides'):
        interval_of_difference(([1], [1]), ([1, 2], [1, 2]))
