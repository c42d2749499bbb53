"""The parts of a report: the overview, one section per benchmark, split and protocol, and the foot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluation.judged import Judged
from ..evaluation.results import Run
from .evaluations import NUMBERS, PROTOCOLS, Evaluation, Group, is_measured, marks
from .figures import histogram_figure, size_figure, sizes_and_ious
from .markup import bullets, confusion_table, escaped, figure, legend, row, score_cell, table
from .pairing import Pairing, Rows, pair
from .samples import as_jpeg, choose, confusion, picture_of, question_iou

TITLES = {'worst': 'Worst', 'best': 'Best', 'random': 'Random'}


def anchor(number: int) -> str:
    """The address of a section in the page."""
    return f'run-{number + 1}'


def overview(groups: Sequence[Group], evaluations: Sequence[Evaluation]) -> str:
    """A table of all runs, each with one score."""
    rows = []
    for n, group in enumerate(groups):
        name = main_score(group)
        cells = []
        for k, run in enumerate(group.runs):
            if run is not None and is_measured(run):
                cell = score_cell(run.scores.get(name))
                more = f'<small>{_asked(run)}</small>' if _asked(run) else ''
                marked = '<small>marked below</small>' if marks(group, k, evaluations) else ''
                cells.append(cell.replace('</td>', f'{more}{marked}</td>'))
            else:
                cells.append('<td class="faint">not run</td>')
        small = f'<small>answer {group.protocol}{f", {escaped(name)}" if name else ""}</small>'
        link = f'<a href="#{anchor(n)}">{escaped(f"{group.title} {group.split}")}</a>'
        rows.append(f'<tr><th scope="row">{link}{small}</th>{"".join(cells)}</tr>')
    header = ['benchmark', *(one.name for one in evaluations)]
    return (
        '<section id="overview" aria-labelledby="overview-title"><h2 id="overview-title">All runs</h2>'
        '<p class="faint">Each figure has its 95 % interval by a bootstrap over images.</p>'
        f'{table("Table of all runs", header, [f"<tbody>{chr(10).join(rows)}</tbody>"])}</section>'
    )


def main_score(group: Group) -> str:
    """The score that stands for a run: gIoU where there is one."""
    return 'gIoU' if 'gIoU' in group.scores else next(iter(group.scores), '')


def _asked(run: Run) -> str:
    return f'{run.counts["questions"]} questions' if 'questions' in run.counts else ''


def section(
    number: int, group: Group, evaluations: Sequence[Evaluation], rows_by_model: Sequence[Rows | None], samples: int
) -> str:
    """A section about the runs of a group.

    Args:
        number: Number of the section.
        group: The runs.
        evaluations: All models.
        rows_by_model: The judged questions of each model, None if they were not kept.
        samples: Number of samples of each kind that are shown.
    """
    names = [one.name for one in evaluations]
    said = [f'{name}: {sentence}' for k, name in enumerate(names) for sentence in marks(group, k, evaluations)]
    parts = [
        f'<section id="{anchor(number)}" aria-labelledby="{anchor(number)}-title">',
        f'<h2 id="{anchor(number)}-title">{escaped(group.heading)}</h2>',
        f'<p class="faint">{PROTOCOLS[group.protocol]}</p>',
    ]
    if any(is_measured(run) for run in group.runs):
        pairings = [
            pair(group.runs[0], run, rows_by_model[0], rows) for run, rows in zip(group.runs[1:], rows_by_model[1:], strict=True)
        ]
        parts.append(scores_table(group, names, [None, *pairings]))
        if any(one.differences for one in pairings):
            parts.append(
                f'<p class="faint">Figures with a sign are differences from {escaped(names[0])} on the same questions, with 95 % '
                'intervals; bold where the interval leaves out 0.</p>'
            )
        for name, run, one in zip(names[1:], group.runs[1:], pairings, strict=True):
            if not is_measured(run):
                continue  # its mark says so
            lack = 'not all differences are given' if one.differences else f'no difference from {names[0]} is given'
            said += [f'{name}: {lack}: {one.why}'] if one.why else []
    parts.append(bullets('marks', said))
    parts.append(figures(names, rows_by_model, samples) if any(rows_by_model) else _no_rows(group))
    return '\n'.join([*parts, '</section>'])


def _no_rows(group: Group) -> str:
    measured = any(is_measured(run) for run in group.runs)
    return '<p class="faint">No figures and pictures: the judged questions were not kept.</p>' if measured else ''


def scores_table(group: Group, names: Sequence[str], pairings: Sequence[Pairing | None]) -> str:
    """Scores by model, and how much they are of."""
    measured = [run if run is not None and is_measured(run) else None for run in group.runs]
    rows = []
    for name in group.scores:
        cells = [
            score_cell(run.scores.get(name) if run else None, one.differences.get(name) if one else None)
            for run, one in zip(measured, pairings, strict=True)
        ]
        rows.append(row(name, cells))
    counts = []
    for name in dict.fromkeys(name for run in measured if run for name in run.counts):
        counts.append(row(name, _cells([None if run is None else run.counts.get(name) for run in measured])))
    for name in group.numbers:
        found = [run.scores.get(name) if run else None for run in measured]
        words = name.removeprefix(NUMBERS).replace('_', ' ')
        counts.append(row(words, _cells([None if one is None else f'{one.value:g}' for one in found])))
    rates = [None if run is None or run.emission_rate is None else f'{100 * run.emission_rate:.1f} %' for run in measured]
    if any(rates):
        counts.append(row('answers with a mask token', _cells(rates)))
    times = [_seconds(run) for run in measured]
    if any(times):
        counts.append(row('seconds per question', _cells(times)))
    bodies = [f'<tbody>{"".join(rows)}</tbody>', f'<tbody class="counts">{"".join(counts)}</tbody>']
    return table(f'Scores of {group.heading}', ['score', *names], bodies)


def _seconds(run: Run | None) -> str | None:
    if run is None or run.seconds is None or not run.counts.get('questions'):
        return None
    return f'{run.seconds / run.counts["questions"]:.3g}'


def _cells(values: Sequence[Any]) -> list[str]:
    return [f'<td>{"–" if value is None else escaped(str(value))}</td>' for value in values]


def figures(names: Sequence[str], rows_by_model: Sequence[Rows | None], samples: int) -> str:
    """Figures, the table of "nothing there", and samples."""
    parts = ['<h3>How good the masks are</h3>', legend({n: name for n, name in enumerate(names) if rows_by_model[n]})]
    drawn = [
        figure(
            histogram_figure(rows_by_model),
            '; '.join(_in_words(name, rows) for name, rows in zip(names, rows_by_model, strict=True) if rows),
            'IoU of each question. Where nothing is there and nothing was masked, it is 1.',
        )
    ]
    sizes = [sizes_and_ious(rows or ()) for rows in rows_by_model]
    if any(len(one) for one, _ in sizes):
        text = 'IoU of each question against the size of its target'
        drawn.append(
            figure(
                size_figure(rows_by_model),
                text,
                'IoU against the size of the target; the line is the mean of questions of similar size. '
                'Questions about nothing are left out.',
            )
        )
    parts.append(f'<div class="figures">{"".join(drawn)}</div>')
    if any(one.is_empty for rows in rows_by_model for one in rows or ()):
        tables = [confusion_table(name, confusion(rows)) for name, rows in zip(names, rows_by_model, strict=True) if rows]
        parts.append(
            '<h3>Is it there?</h3><p class="faint">Numbers of questions. An answer says that nothing is there if it holds '
            '[REJ], has no mask, or only empty ones.</p>'
        )
        parts.append(f'<div class="confusions">{"".join(tables)}</div>')
    return '\n'.join([*parts, shown_samples(names, rows_by_model, samples)])


def _in_words(name: str, rows: Sequence[Judged]) -> str:
    ious = [question_iou(one) for one in rows]
    half = sum(value > 0.5 for value in ious) / len(ious)
    return f'{name}: mean IoU {sum(ious) / len(ious):.3f}, {100 * half:.0f} % of {len(ious)} questions above 0.5'


def shown_samples(names: Sequence[str], rows_by_model: Sequence[Rows | None], number: int) -> str:
    """Pictures of the worst, the best and random questions."""
    if not number:
        return '<p class="faint">No pictures: a report shows 24 at most, and they are of the runs above.</p>'
    several = sum(rows is not None for rows in rows_by_model) > 1
    of = ' by mean IoU over the models' if several else ' by IoU'
    parts = ['<h3>Samples</h3><p class="faint">Targets are outlined green, predicted masks are filled.</p>']
    for kind, samples in choose(rows_by_model, number).items():
        if not samples:
            continue
        cards = []
        for sample in samples:
            first = sample.first
            shown = ''.join(
                _picture(name if several else '', one) for name, one in zip(names, sample.answers, strict=True) if one is not None
            )
            question = first.question or f'{first.sample_id}, row {first.row}'
            cards.append(f'<article class="sample"><p>{escaped(question)}</p><div class="pictures">{shown}</div></article>')
        grid = 'samples several' if several else 'samples'
        title = TITLES[kind] + ('' if kind == 'random' else of)
        parts.append(f'<details open><summary>{title}</summary><div class="{grid}">{"".join(cards)}</div></details>')
    return '\n'.join(parts)


def _picture(name: str, judged: Judged) -> str:
    found = picture_of(judged)
    iou = f'IoU {question_iou(judged):.3f}'
    if isinstance(found, str):
        height, width = judged.size
        shown = f'<div class="missing" style="aspect-ratio: {width} / {height}">{escaped(found)}</div>'
    else:
        height, width = found.shape[:2]
        text = f'{judged.question} {iou}'
        shown = f'<img src="{as_jpeg(found)}" width="{width}" height="{height}" alt="{escaped(text)}">'
    facts = [f'<b>{iou}</b>']
    if judged.is_empty:
        facts.append('nothing is there')
    if judged.masks is None and judged.predicted:
        facts.append('masks were not kept')
    caption = f'{escaped(name)}: ' if name else ''
    caption += ', '.join(facts)
    if judged.answer is not None:
        caption += f'<br><span class="faint">{escaped(judged.answer or "(no words)")}</span>'
    return f'<figure>{shown}<figcaption>{caption}</figcaption></figure>'


def foot(evaluations: Sequence[Evaluation]) -> str:
    """Where the figures come from."""
    models = []
    for one in evaluations:
        results = one.results
        splits = {f'{run.benchmark} {run.split}': run.split_sha256 for run in results.runs if run.split_sha256}
        facts = {
            'checkpoint': results.checkpoint,
            'predictions': results.predictions,
            'weights': results.weights_sha256,
            'config': results.config_sha256,
            **{f'split {name}': value for name, value in splits.items()},
            'device': results.device,
            'processes': str(results.processes),
            'versions': ', '.join(f'{name} {version}' for name, version in results.versions.items()),
            'date': results.date,
            'trained on': 'not known' if results.trained_on is None else ', '.join(results.trained_on) or 'nothing',
        }
        hashes = {'weights', 'config', *(f'split {name}' for name in splits)}
        items = ''.join(
            f'<dt>{escaped(name)}</dt><dd>{f"<code>{escaped(value)}</code>" if name in hashes else escaped(value)}</dd>'
            for name, value in facts.items()
            if value
        )
        models.append(f'<div><h3>{escaped(one.name)}</h3><dl>{items}</dl></div>')
    return (
        '<footer><section aria-labelledby="foot-title"><h2 id="foot-title">Where this comes from</h2>'
        f'<p class="faint">Hashes are SHA-256.</p><div class="models">{"".join(models)}</div></section></footer>'
    )
