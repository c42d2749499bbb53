"""Tables that compare models, with paired differences and published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError, nearest
from ..evaluation.results import Run, Score, rows_of
from .evaluations import Evaluation, Group, groups_of, is_measured, marks, read_evaluations
from .pairing import Rows, is_clear, pair
from .published import Published, read_published
from .tables import FORMATS, NOTHING, Table, figure

COUNTS = ('questions', 'images')


class Notes:
    """Sentences with numbers; a sentence that is said twice has one number."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def refer(self, sentences: Sequence[str]) -> str:
        """The numbers of sentences, such as `` [1] [3]``; nothing without sentences."""
        for sentence in sentences:
            if sentence not in self.sentences:
                self.sentences.append(sentence)
        return ''.join(f' [{self.sentences.index(sentence) + 1}]' for sentence in dict.fromkeys(sentences))


def compare(paths: Sequence[str | Path], *, form: str = 'table', published: bool = False) -> str:
    """Compare models: a table per benchmark, split and protocol, then the differences from the first model.

    Args:
        paths: Folders that ``tools/test.py --out`` wrote, or their results.json.
        form: 'table', 'markdown' or 'latex'.
        published: Whether to add rows of published figures.

    Raises:
        UserError: for an unknown form, or paths that can't be compared.
        DataError: for files that are missing or damaged.
    """
    if form not in FORMATS:
        raise UserError(f'tables as {form!r}; allowed: {", ".join(FORMATS)}.{nearest(form, FORMATS)}')
    evaluations = read_evaluations(paths)
    known = read_published() if published else None
    groups = groups_of(evaluations)
    if not groups:
        raise UserError('the results hold no runs. Evaluate with tools/test.py --benchmarks.')
    tables = [table for group in groups for table in tables_of(group, evaluations, known)]
    return '\n\n'.join(FORMATS[form](table) for table in tables) + '\n'


def tables_of(group: Group, evaluations: Sequence[Evaluation], published: Published | None) -> list[Table]:
    """The figures of a group, and the paired differences if there are several models."""
    figures = table_of_figures(group, evaluations, published)
    several = sum(map(is_measured, group.runs)) > 1
    return [figures, table_of_differences(group, evaluations)] if several else [figures]


def table_of_figures(group: Group, evaluations: Sequence[Evaluation], published: Published | None) -> Table:
    """One row per model, then one per published model."""
    others = published.of(group.benchmark, group.split) if published else []
    names = list(dict.fromkeys([*group.scores, *(name for one in others for name in one.scores)]))
    has_rate = any(run is not None and run.emission_rate is not None for run in group.runs)
    notes = Notes()
    rows = []
    for number, (one, run) in enumerate(zip(evaluations, group.runs, strict=True)):
        name = one.name + notes.refer(marks(group, number, evaluations))
        scores = run.scores if run is not None and is_measured(run) else {}
        counts = [_count(run, name) for name in COUNTS]
        rate = [NOTHING if run is None or run.emission_rate is None else f'{run.emission_rate:.3f}'] if has_rate else []
        rows.append([name, *(figure(scores.get(score)) for score in names), *counts, *rate])
    for other in others:
        assert published is not None
        source = published.sources[other.source]
        said = [f'published: {source.work}; read in {source.read_in}']
        if other.protocol is None:
            said.append('the source does not say whether the answer was given or generated')
        elif other.protocol != group.protocol:
            said.append(f'the answer was {other.protocol}, not {group.protocol} as in this table')
        said += other_questions(group, published)
        scores = {name: Score(value=value) for name, value in other.scores.items()}
        blank = [NOTHING] * (len(COUNTS) + has_rate)
        rows.append([other.model + notes.refer(said), *(figure(scores.get(name)) for name in names), *blank])
    header = ['model', *names, *COUNTS, *(['answers with a mask'] if has_rate else [])]
    return Table(group.heading, header, rows, notes.sentences)


def other_questions(group: Group, published: Published) -> list[str]:
    """A sentence if a run has not as many questions as the published split, as far as that is known."""
    wanted = published.questions.get(f'{group.benchmark} {group.split}')
    found = sorted({run.counts['questions'] for run in group.runs if run and is_measured(run) and 'questions' in run.counts})
    if wanted is None or found in ([], [wanted]):
        return []
    return [f'the published split has {wanted} questions, the runs of this table {" and ".join(map(str, found))}: other data']


def _count(run: Run | None, name: str) -> str:
    return str(run.counts[name]) if run is not None and is_measured(run) and name in run.counts else NOTHING


def table_of_differences(group: Group, evaluations: Sequence[Evaluation]) -> Table:
    """One row per model but the first that was run: its scores less the first one's, on the same questions."""
    rows_by_model = read_rows_of(group, evaluations)
    notes = Notes()
    found = [pair(group.runs[0], run, rows_by_model[0], rows) for run, rows in zip(group.runs, rows_by_model, strict=True)]
    names = list(dict.fromkeys(name for pairing in found[1:] for name in pairing.differences))
    rows = []
    for one, run, pairing in zip(evaluations[1:], group.runs[1:], found[1:], strict=True):
        if not is_measured(run):
            continue
        lack = 'not all differences are given' if pairing.differences else 'no difference is given'
        said = [f'{lack}: {pairing.why}'] if pairing.why else []
        cells = []
        for name in names:
            difference = pairing.differences.get(name)
            clear = ' *' if difference is not None and is_clear(difference) else ''
            cells.append(figure(difference, sign=True) + clear)
        rows.append([one.name + notes.refer(said), *cells])
    title = f'{group.heading}: difference from {evaluations[0].name} on the same questions'
    return Table(title + (' (* its interval leaves out 0)' if names else ''), ['model', *names], rows, notes.sentences)


def read_rows_of(group: Group, evaluations: Sequence[Evaluation]) -> list[Rows | None]:
    """The judged questions of every run of a group; None where there are none, or where results.json was copied without them."""
    return [
        rows_of(run, one.folder)
        if run is not None and run.rows and is_measured(run) and (one.folder / run.rows).is_file()
        else None
        for run, one in zip(group.runs, evaluations, strict=True)
    ]
