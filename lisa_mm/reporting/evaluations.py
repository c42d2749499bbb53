"""Several models' results side by side: which of their runs can be compared, and what must be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..evaluation.results import Results, Run, read_results

PROTOCOLS = {
    'given': 'The answer with its mask token was in the prompt.',
    'generated': 'The model said the answer; one without a mask token counts as an empty mask.',
}
NUMBERS = 'num_'  # how the names of a metric's counts begin


@dataclass(frozen=True)
class Evaluation:
    """The results of one model.

    Args:
        name: Names the model among the others.
        folder: Folder that the paths of its rows begin at.
        results: Its results.json.
    """

    name: str
    folder: Path
    results: Results


@dataclass(frozen=True)
class Group:
    """The runs of all models on one split under one protocol.

    Args:
        title: Title of the benchmark.
        name: Benchmark, split and protocol.
        runs: One run per model; None for a model that has none.
    """

    title: str
    name: str
    benchmark: str
    split: str
    protocol: str
    runs: list[Run | None]

    @property
    def heading(self) -> str:
        """Title, split and protocol, for a reader."""
        return f'{self.title} {self.split}, answer {self.protocol}'

    @property
    def scores(self) -> list[str]:
        """The names of all scores, in the order of their first run, without numbers of what they are about."""
        return [name for name in self._figures if not name.startswith(NUMBERS)]

    @property
    def numbers(self) -> list[str]:
        """The names of the metrics' own counts, such as ``num_masks``."""
        return [name for name in self._figures if name.startswith(NUMBERS)]

    @property
    def _figures(self) -> list[str]:
        return list(dict.fromkeys(name for run in self.runs if run for name in run.scores))


def read_evaluations(paths: Sequence[str | Path]) -> list[Evaluation]:
    """Read folders or results.json files; models of one name get that of their folder, or a number.

    Raises:
        UserError: without paths, or for one that is given twice.
        DataError: for a file that is missing or is no results.json.
    """
    if not paths:
        raise UserError('there are no results. Give folders that tools/test.py --out wrote.')
    places = [Path(path) for path in paths]
    folders = [path if path.is_dir() else path.parent for path in places]
    for path, times in Counter(folder.resolve() for folder in folders).items():
        if times > 1:
            raise UserError(f'{path} is given {times} times. Give each folder once.')
    results = [read_results(path) for path in places]
    names = [found.model for found in results]
    for same in [name for name, times in Counter(names).items() if times > 1]:
        names = [
            f'{name} ({folder.resolve().name})' if name == same else name for name, folder in zip(names, folders, strict=True)
        ]
    for same in [name for name, times in Counter(names).items() if times > 1]:
        numbers = iter(range(1, len(names) + 1))
        names = [f'{name} {next(numbers)}' if name == same else name for name in names]
    return [Evaluation(*one) for one in zip(names, folders, results, strict=True)]


def groups_of(evaluations: Sequence[Evaluation]) -> list[Group]:
    """The runs of all models by benchmark, split and protocol, in the order of their first appearance.

    A run of one protocol is never put beside one of the other.
    """
    by_model = [{run.name: run for run in reversed(one.results.runs)} for one in evaluations]
    firsts = {run.name: run for one in reversed(evaluations) for run in reversed(one.results.runs)}
    order = dict.fromkeys(run.name for one in evaluations for run in one.results.runs)
    return [
        Group(
            firsts[name].title,
            name,
            firsts[name].benchmark,
            firsts[name].split,
            firsts[name].protocol,
            [runs.get(name) for runs in by_model],
        )
        for name in order
    ]


def is_measured(run: Run | None) -> bool:
    """Whether a run has figures."""
    return run is not None and run.status != 'absent'


def marks(group: Group, number: int, evaluations: Sequence[Evaluation]) -> list[str]:
    """What a reader must know before comparing a model's run with the others'.

    Args:
        group: The runs.
        number: Number of the model.
        evaluations: All models.
    """
    run = group.runs[number]
    if run is None:
        others = [
            other.protocol
            for other in evaluations[number].results.runs
            if (other.benchmark, other.split) == (group.benchmark, group.split)
        ]
        return [f'not run with the answer {group.protocol}, only {others[0]}' if others else 'not run']
    if run.status == 'absent':
        return [f'not run: {run.why or "no reason was written"}']
    found = []
    if run.status == 'limited':
        found.append(f'only the first {run.limit} records' if run.limit else 'only a part of the records')
    reference = next(n for n, other in enumerate(group.runs) if is_measured(other))
    first = group.runs[reference]
    if reference != number and first is not None and run.split_sha256 != first.split_sha256:
        unknown = run.split_sha256 is None or first.split_sha256 is None
        found.append(
            f'perhaps other questions than {evaluations[reference].name}: a hash of the split is missing'
            if unknown
            else f'other questions than {evaluations[reference].name}: the hashes of the split differ'
        )
    if run.shared_images and run.shared_images.images:
        sets = ', '.join(run.shared_images.data_sets)
        found.append(f'{run.shared_images.images} images of this split were in the training data ({sets})')
    return found
