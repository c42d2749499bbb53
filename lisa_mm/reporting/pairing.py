"""Differences between two models on the same questions, with intervals by a paired bootstrap over images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..evaluation.base import JudgedMetric
from ..evaluation.bootstrap import interval_of_difference
from ..evaluation.judged import Judged
from ..evaluation.results import Run, Score
from ..registry import METRICS
from .evaluations import is_measured

ROUNDING = 1e-4  # published programs add up to 1e-5 to a denominator
Rows = Sequence[Judged]


@dataclass(frozen=True)
class Pairing:
    """Differences of a model's scores from the first model's.

    Args:
        differences: By name of the score: the other model's less the first one's.
        why: Why there are none, or why some are left out; empty if all are there.
    """

    differences: Mapping[str, Score]
    why: str = ''


def pair(first: Run | None, other: Run | None, first_rows: Rows | None, other_rows: Rows | None) -> Pairing:
    """Compare two runs question by question.

    Args:
        first, other: The runs; None for a model that has none.
        first_rows, other_rows: Their judged questions; None if they were not kept.
    """
    if first is None or other is None or not is_measured(first) or not is_measured(other):
        return Pairing({}, 'one of both was not run')
    if first_rows is None or other_rows is None:
        return Pairing({}, 'the rows of one of both were not kept')
    why = questions_differ(first, other, first_rows, other_rows)
    if why:
        return Pairing({}, why)
    metrics, unknown = metrics_of(first)
    if unknown:
        why = f'the metric {", ".join(unknown)} is not registered here'
    if not first.metrics:
        why = 'results.json does not name its metrics'
    by_key = {one.key: one for one in other_rows}
    # in the first one's order and by its images: the folder of the images may have another name on another machine
    ordered = [replace(by_key[one.key], img_path=one.img_path) for one in first_rows]
    found: dict[str, Score] = {}
    wrong = []
    for metric in metrics:
        names = dict.fromkeys(name for one in first_rows for name in metric.terms(one))
        for name in [name for name in names if name in first.scores and name in other.scores]:
            sums = metric.by_image(first_rows, name), metric.by_image(ordered, name)
            if all(agrees(*pair, run.scores[name].value) for pair, run in zip(sums, (first, other), strict=True)):
                low, high = interval_of_difference(sums[1], sums[0])
                value = other.scores[name].value - first.scores[name].value
                found[name] = Score(value=value, low=low, high=high)
            else:
                wrong.append(name)
    if wrong:
        why = f'the rows do not give the figures of results.json for {", ".join(wrong)}'
    return Pairing(found, why)


def questions_differ(first: Run, other: Run, first_rows: Rows, other_rows: Rows) -> str:
    """Why two runs can't be compared question by question; empty if they can."""
    keys, others = [one.key for one in first_rows], [one.key for one in other_rows]
    if len(set(keys)) < len(keys) or len(set(others)) < len(others):
        return 'some questions have the same name'
    common = len(set(keys) & set(others))
    if common < max(len(keys), len(others)):
        return f'{common} questions in common of {len(keys)} and {len(others)}'
    if not keys:
        return 'there are no questions'
    if first.split_sha256 is None or other.split_sha256 is None:
        return 'a hash of the split is missing'
    if first.split_sha256 != other.split_sha256:
        return 'the hashes of the split differ'
    return ''


def metrics_of(run: Run) -> tuple[list[JudgedMetric], list[str]]:
    """The metrics of a run, and the names of those that are not known here."""
    built, unknown = [], []
    for config in run.metrics:
        if METRICS.get(config['type']) is None:
            unknown.append(config['type'])
            continue
        metric = METRICS.build(dict(config))
        if isinstance(metric, JudgedMetric):
            built.append(metric)
    return built, unknown


def agrees(numerators: Sequence[float], denominators: Sequence[float], value: float) -> bool:
    """Whether sums give the figure that was written; a figure over nothing was not written."""
    bottom = sum(denominators)
    return bottom > 0 and math.isclose(sum(numerators) / bottom, value, abs_tol=ROUNDING)


def is_clear(difference: Score) -> bool:
    """Whether the interval of a difference leaves out 0."""
    low, high = difference.low, difference.high
    return low is not None and high is not None and (low > 0 or high < 0)
