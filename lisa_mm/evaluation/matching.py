"""Match predicted masks with targets, one to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .judged import Judged


@dataclass(frozen=True)
class Match:
    """A predicted mask beside a target; one of both may be missing.

    Args:
        predicted: Number of the mask, or None.
        target: Number of the target, or None.
        intersection, union: Pixels; of an unmatched mask or target the union is its own area.
    """

    predicted: int | None
    target: int | None
    intersection: int
    union: int

    @property
    def iou(self) -> float:
        """0 for an unmatched mask or target; 1 where both are empty."""
        if self.predicted is None or self.target is None:
            return 0.0
        return self.intersection / self.union if self.union else 1.0


def ious(judged: Judged) -> np.ndarray:
    """(P, T) IoU; 1 where both masks are empty."""
    shape = (len(judged.predicted), len(judged.targets))
    intersections = np.asarray(judged.intersections, np.float64).reshape(shape)
    unions = np.asarray(judged.unions, np.float64).reshape(shape)
    return np.where(unions > 0, intersections / np.maximum(unions, 1), 1.0)


def assign(judged: Judged) -> list[Match]:
    """The pairs of the greatest sum of IoUs (Hungarian method), in the order of the targets; then what is left over."""
    values = ious(judged)
    rows, columns = linear_sum_assignment(values, maximize=True)
    return with_unmatched(judged, sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda pair: pair[1]))


def greedy(judged: Judged, at_least: float = 0.0) -> list[Match]:
    """Pairs by falling IoU, each mask and target once, as far as the IoU is above ``at_least``; then what is left over."""
    values = ious(judged)
    pairs: list[tuple[int, int]] = []
    order = np.argsort(-values, axis=None, kind='stable')
    for p, t in zip(*np.unravel_index(order, values.shape), strict=True):
        if values[p, t] <= at_least:
            break
        if all(p != other and t != taken for other, taken in pairs):
            pairs.append((int(p), int(t)))
    return with_unmatched(judged, sorted(pairs, key=lambda pair: pair[1]))


def with_unmatched(judged: Judged, pairs: Sequence[tuple[int, int]]) -> list[Match]:
    """Pairs as matches, and a match for every mask and target that has none."""
    found = [Match(p, t, judged.intersections[p][t], judged.unions[p][t]) for p, t in pairs]
    seen, wanted = {p for p, _ in pairs}, {t for _, t in pairs}
    found += [Match(None, t, 0, area) for t, area in enumerate(judged.targets) if t not in wanted]
    return found + [Match(p, None, 0, area) for p, area in enumerate(judged.predicted) if p not in seen]
