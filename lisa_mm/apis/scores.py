"""Print the scores of benchmarks."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ..evaluation.results import Results, Run, Score
from ..evaluation.shared_images import shared_line


def scores_table(results: Results) -> str:
    """Every score of every run with its interval, as text."""
    table = Table(title=f'{results.model}, {results.device}', title_justify='left', box=None, pad_edge=False)
    for heading in ('benchmark', 'split', 'answers', 'score'):
        table.add_column(heading, no_wrap=True)
    for heading in ('value', '95 % interval', 'n'):
        table.add_column(heading, justify='right', no_wrap=True)
    notes = []
    for run in results.runs:
        where = (run.title, run.split, run.protocol)
        if run.status == 'absent':
            table.add_row(*where, 'not run', '', '', '')
            notes.append(f'{run.name}: {run.why}')
            continue
        rows = [(name, score) for name, score in run.scores.items() if not name.startswith('num_')]
        for number, (name, score) in enumerate(rows):
            first = (str(run.counts.get('questions', '')),) if number == 0 else ('',)
            table.add_row(*(where if number == 0 else ('', '', '')), name, f'{score.value:.4f}', interval_text(score), *first)
        notes += notes_of(run)
    text = io.StringIO()
    console = Console(file=text, width=120, color_system=None)
    console.print(table)
    return '\n'.join([text.getvalue().rstrip(), *notes])


def notes_of(run: Run) -> list[str]:
    """What must be known of a run's figures, a sentence each."""
    notes = []
    if run.status == 'limited':
        notes.append(f'{run.name}: only the first {run.limit} records, so these figures compare with nothing.')
    if run.emission_rate is not None:
        notes.append(f'{run.name}: {run.emission_rate:.1%} of the answers hold a mask token.')
    if run.seconds is not None and run.counts.get('questions'):
        notes.append(f'{run.name}: {run.seconds / run.counts["questions"]:.3f} s per question, {run.seconds:.0f} s in all.')
    if run.shared_images is not None and run.shared_images.images:
        notes.append(f'WARNING {shared_line(run.name, run.shared_images, run.counts["images"])}.')
    return notes + [f'{run.name}: {note}.' for note in run.notes]


def interval_text(score: Score) -> str:
    """``[0.6220, 0.7230]``, or nothing."""
    if score.low is None or score.high is None:
        return ''
    return f'[{score.low:.4f}, {score.high:.4f}]'


def result_line_of(results: Results, names: Sequence[str]) -> str:
    """The one line that ends an evaluation: of the first named benchmark that has a gIoU; where none has, it says so."""
    order = [name.partition(':')[0].removesuffix('.py').rpartition('/')[2] for name in names]
    runs = [run for run in results.runs if not order or run.benchmark in order]
    runs.sort(key=lambda run: order.index(run.benchmark) if order else 0)
    for run in runs:
        if 'gIoU' in run.scores:
            scores = ' '.join(f'{name}={run.scores[name].value:.4f}' for name in ('gIoU', 'cIoU') if name in run.scores)
            limited = f' limit={run.limit}' if run.limit else ''
            return f'RESULT split={run.split} {scores} n={run.counts["questions"]}{limited}'
    return 'no RESULT: none of these benchmarks has a gIoU'
