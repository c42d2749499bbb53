"""Intervals of scores by a bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

ROUNDS = 2000
LEVEL = 0.95


@lru_cache(maxsize=1)  # every score of a split draws the same, and drawing takes seconds
def resamples(images: int, rounds: int = ROUNDS) -> np.ndarray:
    """How often each of N images is drawn in each round, (rounds, N) float64; always the same for the same N."""
    drawn = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=rounds).astype(np.float64)
    drawn.setflags(write=False)
    return drawn


def interval_of_ratio(numerators: Sequence[float], denominators: Sequence[float], rounds: int = ROUNDS) -> tuple[float, float]:
    """95 % percentile interval of sum(numerators) / sum(denominators).

    Questions about one image are not independent, so images are drawn, not questions.

    Args:
        numerators, denominators: One sum per image.
        rounds: Number of resamples.

    Returns:
        NaN twice if no resample has a denominator above 0.
    """
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if not len(top):
        return float('nan'), float('nan')
    drawn = resamples(len(top), rounds)
    return percentiles(drawn @ top, drawn @ bottom)


def interval_of_difference(
    first: tuple[Sequence[float], Sequence[float]], second: tuple[Sequence[float], Sequence[float]], rounds: int = ROUNDS
) -> tuple[float, float]:
    """95 % percentile interval of the first ratio less the second one, on the same resampled images (paired).

    Args:
        first, second: Numerators and denominators as in :func:`interval_of_ratio`, of the same images in the same order.
        rounds: Number of resamples.

    Raises:
        ValueError: if the numbers of images differ.
    """
    if len({len(values) for ratio in (first, second) for values in ratio}) != 1:
        raise ValueError('a paired difference needs the same images on both sides')
    if not len(first[0]):
        return float('nan'), float('nan')
    drawn = resamples(len(first[0]), rounds)
    ratios = [(drawn @ np.asarray(top, np.float64), drawn @ np.asarray(bottom, np.float64)) for top, bottom in (first, second)]
    defined = (ratios[0][1] > 0) & (ratios[1][1] > 0)
    differences = [top[defined] / bottom[defined] for top, bottom in ratios]
    return percentiles(differences[0] - differences[1], np.ones(int(defined.sum())))


def percentiles(tops: np.ndarray, bottoms: np.ndarray) -> tuple[float, float]:
    """The interval of the quotients whose denominator is above 0."""
    defined = bottoms > 0
    if not defined.any():
        return float('nan'), float('nan')
    low, high = np.quantile(tops[defined] / bottoms[defined], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
