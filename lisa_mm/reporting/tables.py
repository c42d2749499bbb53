"""Tables as plain text, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from ..evaluation.results import Score

NOTHING = '-'
FIGURES = re.compile(r'[-+0-9., \[\]*]+')  # a cell that holds nothing to escape
WIDTH = 110  # of plain text; a wider table is broken into several
MARKDOWN = re.compile(r'([\\`*_{}\[\]<>()#+!|~$&])')
LATEX = {
    '\\': r'\textbackslash{}',
    '{': r'\{',
    '}': r'\}',
    '$': r'\$',
    '&': r'\&',
    '#': r'\#',
    '_': r'\_',
    '%': r'\%',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    # at the beginning of a row they would belong to the line break before it
    '[': '{[}',
    '*': '{*}',
}


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it is about.
        header: One name per column; the first column holds names, the others figures.
        rows: Cells, as many as there are columns.
        notes: Sentences below it, which names point at by ``[1]``.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def figure(score: Score | None, *, sign: bool = False) -> str:
    """A figure with its interval, such as ``0.671 [0.620, 0.720]``.

    Args:
        score: The figure; None gives a dash.
        sign: Whether a positive number has a sign.

    >>> figure(Score(value=0.5, low=0.4, high=0.6))
    '0.500 [0.400, 0.600]'
    """
    if score is None or math.isnan(score.value):
        return NOTHING
    form = '+.3f' if sign else '.3f'
    bounds = [bound for bound in (score.low, score.high) if bound is not None and not math.isnan(bound)]
    interval = f' [{bounds[0]:{form}}, {bounds[1]:{form}}]' if len(bounds) == 2 else ''
    return f'{score.value:{form}}{interval}'


def one_line(text: str) -> str:
    """Text without line breaks and other characters that are not printed."""
    return ' '.join(''.join(letter if letter.isprintable() else ' ' for letter in text).split())


def markdown(text: str) -> str:
    """Text for Markdown, escaped."""
    text = one_line(text)
    return text.replace('*', r'\*') if FIGURES.fullmatch(text) else MARKDOWN.sub(r'\\\1', text)


def latex(text: str) -> str:
    """Text for LaTeX, escaped."""
    text = one_line(text)
    if FIGURES.fullmatch(text) and text != NOTHING:
        return text.replace('-', '$-$')
    return ''.join(LATEX.get(letter, letter) for letter in text)


def as_text(table: Table) -> str:
    """A table for a terminal; a wide one is broken into several, each with the names."""
    cells = [[one_line(cell) for cell in row] for row in [table.header, *table.rows]]
    widths = [max(cell_len(row[k]) for row in cells) for k in range(len(table.header))]
    parts: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        if len(parts[-1]) > 1 and sum(widths[k] + 2 for k in [*parts[-1], column]) > WIDTH:
            parts.append([0])
        parts[-1].append(column)
    blocks = ['\n'.join(_text_lines(cells, widths, columns)) for columns in parts]
    notes = [f'[{number}] {one_line(note)}' for number, note in enumerate(table.notes, 1)]
    return '\n'.join([one_line(table.title), '\n\n'.join(blocks), *notes])


def _text_lines(cells: Sequence[Sequence[str]], widths: Sequence[int], columns: Sequence[int]) -> list[str]:
    lines = []
    for number, row in enumerate(cells):
        # names come again in later parts only where there is a figure
        if number and columns[1:] and columns[1] > 1 and all(row[k] == NOTHING for k in columns[1:]):
            continue
        padded = [row[0] + ' ' * (widths[0] - cell_len(row[0]))]
        padded += [' ' * (widths[k] - cell_len(row[k])) + row[k] for k in columns[1:]]
        lines.append('  '.join(padded).rstrip())
    lines.insert(1, '  '.join('-' * widths[k] for k in columns))
    return lines


def as_markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""
    lines = [f'**{markdown(table.title)}**', '']
    lines += ['| ' + ' | '.join(map(markdown, table.header)) + ' |', '|---' + '|--:' * (len(table.header) - 1) + '|']
    lines += ['| ' + ' | '.join(map(markdown, row)) + ' |' for row in table.rows]
    # a line of its own for each note
    lines += [part for number, note in enumerate(table.notes, 1) for part in ('', rf'\[{number}\] {markdown(note)}')]
    return '\n'.join(lines)


def as_latex(table: Table) -> str:
    """A table of LaTeX, for the package booktabs."""
    lines = [r'\begin{table}', rf'\caption{{{latex(table.title)}}}', rf'\begin{{tabular}}{{l{"r" * (len(table.header) - 1)}}}']
    lines += [r'\toprule', ' & '.join(map(latex, table.header)) + r' \\', r'\midrule']
    lines += [' & '.join(map(latex, row)) + r' \\' for row in table.rows]
    lines += [r'\bottomrule', r'\end{tabular}']
    lines += [rf'\par\footnotesize {{[}}{number}] {latex(note)}' for number, note in enumerate(table.notes, 1)]
    return '\n'.join([*lines, r'\end{table}'])


FORMATS: dict[str, Callable[[Table], str]] = {'table': as_text, 'markdown': as_markdown, 'latex': as_latex}
