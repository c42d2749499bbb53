"""Pieces of HTML whose texts are escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..evaluation.results import Score
from .figures import COLORS, DASHES
from .pairing import is_clear


def escaped(text: str) -> str:
    """Text as it stands between tags or in an attribute."""
    return html.escape(text.encode('utf-8', 'replace').decode())


def number(value: float, *, sign: bool = False) -> str:
    """A number with three decimals, and a minus of a digit's width."""
    return f'{value:{"+" if sign else ""}.3f}'.replace('-', '\u2212')


def interval(score: Score, *, sign: bool = False) -> str:
    """``[low, high]``; nothing without an interval."""
    low, high = score.low, score.high
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ''
    return f'[{number(low, sign=sign)}, {number(high, sign=sign)}]'


def score_cell(score: Score | None, difference: Score | None = None) -> str:
    """A cell with a figure, its interval, and its difference from the first model."""
    if score is None:
        return '<td class="faint">–</td>'
    lines = [f'<b>{number(score.value)}</b>']
    if interval(score):
        lines.append(f'<small><span>{interval(score)}</span></small>')
    if difference is not None:
        kind = ' class="clear"' if is_clear(difference) else ''
        spread = f'<span>{interval(difference, sign=True)}</span>'
        lines.append(f'<small{kind}><span>{number(difference.value, sign=True)}</span> {spread}</small>')
    return f'<td>{"".join(lines)}</td>'


def table(label: str, header: Sequence[str], bodies: Iterable[str]) -> str:
    """A table that scrolls by itself where it is wider than the page."""
    heads = ''.join(f'<th scope="col">{escaped(name)}</th>' for name in header)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escaped(label)}">'
        f'<table><thead><tr>{heads}</tr></thead>{"".join(bodies)}</table></div>'
    )


def row(name: str, cells: Iterable[str], note: str = '') -> str:
    """A row of a table: its name with a small note, and cells."""
    small = f'<small>{escaped(note)}</small>' if note else ''
    return f'<tr><th scope="row">{escaped(name)}{small}</th>{"".join(cells)}</tr>'


def bullets(kind: str, sentences: Sequence[str]) -> str:
    """A list; nothing without sentences."""
    return f'<ul class="{kind}">{"".join(f"<li>{escaped(one)}</li>" for one in sentences)}</ul>' if sentences else ''


def legend(names: Mapping[int, str]) -> str:
    """Which line is which model's, by its number; nothing for one model."""
    if len(names) < 2:
        return ''
    entries = []
    for n, name in names.items():
        line = (
            f'<svg width="34" height="8" aria-hidden="true"><line x1="1" y1="4" x2="33" y2="4" stroke="{COLORS[n % 5]}" '
            f'stroke-width="3" stroke-dasharray="{DASHES[n % 5]}"/></svg>'
        )
        entries.append(f'<li>{line}<span>{escaped(name)}</span></li>')
    return f'<ul class="legend">{"".join(entries)}</ul>'


def figure(source: str, text: str, caption: str) -> str:
    """A picture with its text for those who don't see it, and a caption."""
    return f'<figure><img src="{source}" alt="{escaped(text)}"><figcaption>{escaped(caption)}</figcaption></figure>'


def confusion_table(name: str, counts: np.ndarray) -> str:
    """The table of "nothing there" of one model."""
    rows = []
    for k, there in enumerate(('something is there', 'nothing is there')):
        cells = [f'<td class="{"right" if k == said else "wrong"}">{counts[k, said]}</td>' for said in (0, 1)]
        rows.append(f'<tr><th scope="row">{there}</th>{"".join(cells)}</tr>')
    heads = '<tr><td></td><th scope="col">answer: something</th><th scope="col">answer: nothing</th></tr>'
    return f'<table><caption>{escaped(name)}</caption><thead>{heads}</thead><tbody>{"".join(rows)}</tbody></table>'
