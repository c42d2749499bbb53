"""Results of the speed benchmark as text, a page's table, JSON and a plot."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from lisa_mm.errors import UserError

from .series import ALL, PLAIN

GIB = 2**30
BEGIN, END = '<!-- speed {} -->', '<!-- end of speed {} -->'


def rows_of(found: dict[str, Any]) -> list[list[str]]:
    """The head and a row for each variant, as text."""
    head = ['', 's per step', 'times as fast', 'CPU s', 'peak, GiB', 'of the memory', 'GFLOP', 'of the matrix rate']
    rows = [head]
    for name, own in found['variants'].items():
        operations = sum(own.get('operations', {}).values())
        rows.append(
            [
                name,
                f'{own["seconds"]:.3f}',
                _number(own.get('times as fast'), '.2f'),
                _number(own.get('cpu_seconds'), '.3f'),
                f'{own["peak"] / GIB:.2f}',
                _number(own.get('of the memory'), '.2f'),
                _number(operations / 1e9 if operations else None, '.1f'),
                _number(own.get('share of the rate'), '.0%'),
            ]
        )
    return rows


def parts_of(found: dict[str, Any]) -> list[list[str]]:
    """Seconds and operations of each part, without savings and with all; empty where there are no parts."""
    shown = [name for name in (PLAIN, ALL) if found['variants'].get(name, {}).get('parts')]
    if not shown:
        return []
    kinds = [(name, unit) for name in shown for unit in ('s', 'GFLOP')]
    rows = [['part', *(f'{name}, {unit}' for name, unit in kinds)]]
    names = sorted({part for name in shown for part in found['variants'][name]['parts']})
    for part in names:
        row = [part]
        for name in shown:
            own = found['variants'][name]
            row += [f'{own["parts"].get(part, 0):.3f}', f'{own["operations"].get(part, 0) / 1e9:.1f}']
        rows.append(row)
    return rows


def notes_of(found: dict[str, Any], says: str) -> list[str]:
    """Sentences about how it was measured, and whether the anchors hold."""
    rate = found['variants'][ALL].get('rate')
    lines = [
        f'{says}; sizes "{found["preset"]}", {found["threads"]} threads, float32, {platform.machine()}; medians of '
        f'{found["rounds"]} rounds in turns, {found["steps"]} steps each.'
    ]
    if rate:
        lines.append(f'A product of float32 matrices reaches {rate / 1e9:.0f} GFLOP/s here.')
    for anchor in found['anchors']:
        holds = 'within' if anchor['holds'] else 'NOT within'
        settings = 'the same allocator settings on both sides' if anchor['variant'] != PLAIN else "the allocator's default"
        lines.append(
            f"Anchor: {anchor['commit']} is {anchor['measured']:.2f} times as fast as '{anchor['variant']}'; LISA's own program "
            f'with {settings} took {anchor["known"]:.2f} times its time: {holds} 15 %.'
        )
    return lines


def text(found: dict[str, Any], says: str) -> str:
    """For the terminal."""
    blocks = [' '.join([found['work'] + ':', *notes_of(found, says)]), aligned(rows_of(found))]
    parts = parts_of(found)
    return '\n\n'.join([*blocks, aligned(parts)] if parts else blocks) + '\n'


def markdown(found: dict[str, Any], says: str) -> str:
    """For a page."""
    blocks = [' '.join(notes_of(found, says)), markdown_table(rows_of(found))]
    parts = parts_of(found)
    return '\n\n'.join([*blocks, markdown_table(parts)] if parts else blocks)


def aligned(rows: list[list[str]]) -> str:
    """Columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def markdown_table(rows: list[list[str]]) -> str:
    """A table of markdown, the first column aligned left."""
    line = '|---|' + '---:|' * (len(rows[0]) - 1)
    head, *rest = (f'| {" | ".join(row)} |' for row in rows)
    return '\n'.join([head, line, *rest])


def _number(value: float | None, form: str) -> str:
    return '' if value is None else format(value, form)


def find_markers(page: Path, work: str) -> tuple[str, str]:
    """The text of a page before and after the table of a kind of work, markers included.

    Raises:
        UserError: if the page is missing or has no markers.
    """
    if not page.is_file():
        raise UserError(f'--page {page}: no such file.')
    content = page.read_text(encoding='utf-8')
    before, begin, rest = content.partition(BEGIN.format(work))
    _, end, after = rest.partition(END.format(work))
    if not begin or not end:
        raise UserError(f'--page {page}: put the lines {BEGIN.format(work)} and {END.format(work)} where the table belongs.')
    return before + begin, end + after


def fill_page(page: Path, work: str, table: str) -> None:
    """Write a table between a page's markers."""
    before, after = find_markers(page, work)
    page.write_text(f'{before}\n{table}\n{after}', encoding='utf-8')


def write_json(results: dict[str, Any], path: Path) -> None:
    """Write the results; a reader never sees half of them."""
    part = path.with_suffix('.part')
    part.write_text(json.dumps(results, indent=1), encoding='utf-8')
    part.replace(path)


def draw(results: dict[str, Any], path: Path) -> None:
    """Plot the seconds of each variant's parts, a panel for each kind of work."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(6 * len(results), 4.5), squeeze=False)
    for axes, (work, found) in zip(panels[0], results.items(), strict=True):
        names = list(found['variants'])
        parts = sorted({part for own in found['variants'].values() for part in own.get('parts', {})})
        left = [0.0] * len(names)
        for part in parts:
            widths = [own.get('parts', {}).get(part, 0.0) for own in found['variants'].values()]
            axes.barh(names, widths, left=left, label=part)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        if not parts:
            axes.barh(names, [own['seconds'] for own in found['variants'].values()])
        axes.invert_yaxis()
        axes.set(xlabel='seconds per step', title=f'{work}, {found["preset"]}')
        if parts:
            axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
