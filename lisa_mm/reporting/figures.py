"""Figures of a report: how IoU is distributed, and how it depends on the size of the target."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ..evaluation.judged import Judged
from .samples import question_iou

# Okabe and Ito's colours that are dark enough on white, with lines that differ in grey too
COLORS = ('#0072b2', '#c44e00', '#00795a', '#8a4a7d', '#5b5b5b')
DASHES = ('', '7 3', '2 2', '9 2 2 2', '4 1')
BINS = 20
MOST_POINTS = 2000  # per model, evenly taken; the line is of all
PARTS = 8  # of the line
DPI = 160


def histogram_figure(rows_by_model: Sequence[Sequence[Judged] | None]) -> str:
    """Share of questions by IoU, as a data URL of a PNG."""
    figure, axes = _new_figure('IoU', 'questions, %')
    edges = np.linspace(0, 1, BINS + 1)
    for n, rows in enumerate(rows_by_model):
        if not rows:
            continue
        counts, _ = np.histogram([question_iou(one) for one in rows], edges)
        shares = 100 * counts / len(rows)
        if sum(bool(rows) for rows in rows_by_model) == 1:
            axes.bar(edges[:-1], shares, width=1 / BINS, align='edge', color=COLORS[n % 5], edgecolor='white', linewidth=0.8)
        else:
            axes.stairs(shares, edges, color=COLORS[n % 5], linestyle=_style(n), linewidth=1.8)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom=0)
    return _as_png(figure)


def size_figure(rows_by_model: Sequence[Sequence[Judged] | None]) -> str:
    """IoU against the target's share of the image, as a data URL of a PNG; questions about nothing are left out."""
    figure, axes = _new_figure('target, % of the image', 'IoU')
    axes.set_xscale('log')
    for n, rows in enumerate(rows_by_model):
        sizes, ious = sizes_and_ious(rows or ())
        if not len(sizes):
            continue
        step = 1 + len(sizes) // MOST_POINTS
        axes.scatter(sizes[::step], ious[::step], s=9, color=COLORS[n % 5], alpha=0.35, linewidths=0, rasterized=True)
        middles, means = means_by_size(sizes, ious)
        axes.plot(middles, means, color=COLORS[n % 5], linestyle=_style(n), linewidth=2, marker='o', markersize=3.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.03, 1.03)
    return _as_png(figure)


def sizes_and_ious(rows: Sequence[Judged]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) percent of the image that all targets of a question take, and (N,) its IoU; without questions about nothing."""
    kept = [one for one in rows if not one.is_empty]
    sizes = [100 * sum(one.targets) / (one.size[0] * one.size[1]) for one in kept]
    return np.asarray(sizes, np.float64), np.asarray([question_iou(one) for one in kept], np.float64)


def means_by_size(sizes: np.ndarray, ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median size and mean IoU of up to 8 parts, by size, of equally many questions (10 at least, if there are so many)."""
    pieces = np.array_split(np.argsort(sizes, kind='stable'), max(1, min(PARTS, len(sizes) // 10)))
    return np.array([np.median(sizes[piece]) for piece in pieces]), np.array([ious[piece].mean() for piece in pieces])


def _style(number: int) -> str | tuple[int, tuple[float, ...]]:
    dashes = DASHES[number % 5].split()
    return (0, tuple(float(length) / 2 for length in dashes)) if dashes else '-'


def _new_figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.6, 2.5), dpi=DPI, layout='constrained')
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color='#dddddd', linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _as_png(figure: Figure) -> str:
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()
