"""A report of evaluations: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .comparison import read_rows_of
from .evaluations import Evaluation, Group, groups_of, is_measured, read_evaluations
from .markup import escaped
from .samples import KINDS
from .sections import anchor, foot, overview, section

PICTURES = 24  # of a report at most
STYLE = Path(__file__).with_name('report.css')
# the file asks for nothing outside it, whatever a model's answer holds
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page about one or several models' evaluations.

    Args:
        folders: Folders that ``tools/test.py --out`` wrote, or their results.json; the first is what others are compared with.
        out: The html file; its folder is created.

    Returns:
        The file.

    Raises:
        UserError: without folders, or for one that is given twice.
        DataError: for files that are missing or damaged. A missing image is a grey box in the page.
    """
    evaluations = read_evaluations(folders)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'{out.name}.partial')
    partial.write_text(page_of(evaluations), encoding='utf-8')
    partial.replace(out)
    return out


def page_of(evaluations: Sequence[Evaluation]) -> str:
    """The page."""
    groups = groups_of(evaluations)
    title = 'Evaluation of ' + ', '.join(one.name for one in evaluations)
    links = ''.join(f'<li><a href="#{anchor(n)}">{escaped(group.heading)}</a></li>' for n, group in enumerate(groups))
    samples = numbers_of_samples(groups)
    sections = [
        section(n, group, evaluations, read_rows_of(group, evaluations), samples[n]) for n, group in enumerate(groups)
    ] or ['<p>There are no runs.</p>']
    dates = sorted({one.results.date[:10] for one in evaluations if one.results.date})
    when = f'<p class="faint">{escaped(" and ".join(dates))}</p>' if dates else ''
    return '\n'.join(
        [
            '<!DOCTYPE html>',
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{escaped(title)}</title><link rel="icon" href="data:,">',
            f'<style>{STYLE.read_text(encoding="utf-8")}</style></head><body>',
            '<a class="skip" href="#main">To the tables</a>',
            f'<header><h1>{escaped(title)}</h1>{when}<nav aria-label="Runs"><ul>{links}</ul></nav></header>',
            '<main id="main">',
            overview(groups, evaluations) if groups else '',
            *sections,
            '</main>',
            foot(evaluations),
            '</body></html>',
            '',
        ]
    )


def numbers_of_samples(groups: Sequence[Group]) -> list[int]:
    """How many samples of each kind every group shows, so that all pictures together are at most :data:`PICTURES`.

    The same number for all groups; where that would be none, one for as many groups as possible, from the first on.
    """
    pictures = [len(KINDS) * sum(is_measured(run) and bool(run and run.rows) for run in group.runs) for group in groups]
    total = sum(pictures)
    each = PICTURES // total if total else 0
    if each:
        return [each] * len(groups)
    numbers = []
    left = PICTURES
    for needed in pictures:
        numbers.append(int(needed <= left))
        left -= needed if needed <= left else 0
    return numbers
