"""The files of an evaluation: results.json and, for each benchmark's split, the judged questions as jsonl.

::

    OUT/results.json                    every figure, see :class:`Results`
    OUT/refcoco_val_given/rows.jsonl    one question per line, see :meth:`lisa_mm.evaluation.judged.Judged.to_json`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import DataError
from .judged import Judged

RESULTS, ROWS = 'results.json', 'rows.jsonl'
FORMAT = 1


class Strict(BaseModel):
    """Refuses unknown keys: a misspelt one is not lost."""

    model_config = ConfigDict(extra='forbid')


class Score(Strict):
    """A figure with its 95 % interval by a bootstrap over images; None where there is no such interval."""

    value: float
    low: float | None = None
    high: float | None = None


class SharedImages(Strict):
    """Images of the split that the model was trained on.

    Args:
        images: Their number.
        data_sets: Titles of the training data sets that hold them.
    """

    images: int
    data_sets: list[str]


class Run(Strict):
    """One split of a benchmark under one protocol.

    Args:
        benchmark: Name of the benchmark, such as 'refcoco'.
        title: Its name in tables.
        split: Name of the split.
        protocol: 'given': the answer with its ``[SEG]`` was in the prompt; 'generated': the model said it.
        status: 'done'; 'limited': only the first ``limit`` records; 'absent': not run, for the reason in ``why``.
        why: Reason of an absent run, such as the missing file.
        scores: The metrics' figures by name; ``gIoU short`` is that of a part.
        metrics: Configs of the metrics, such as ``{'type': 'SegIoUMetric'}``: paired differences need them.
        counts: ``questions``, ``images``, ``records``.
        emission_rate: Share of answers with a mask token; None where the answers were given.
        seconds: Time of the model and the counting, over all processes together as on the wall clock.
        split_sha256: Hash of the split's questions, images and targets as they were asked.
        limit: See ``status``.
        rows: Path of the judged questions, from the folder of results.json; None if they were not kept.
        shared_images: Images of the split in the training data; None if it is not known what the model was trained on.
        notes: Sentences that must be read with the figures.
    """

    benchmark: str
    title: str
    split: str
    protocol: Literal['given', 'generated']
    status: Literal['done', 'limited', 'absent'] = 'done'
    why: str | None = None
    scores: dict[str, Score] = {}
    metrics: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    emission_rate: float | None = None
    seconds: float | None = None
    split_sha256: str | None = None
    limit: int | None = None
    rows: str | None = None
    shared_images: SharedImages | None = None
    notes: list[str] = []

    @property
    def name(self) -> str:
        """Benchmark, split and protocol."""
        return f'{self.benchmark} {self.split} {self.protocol}'


class Results(Strict):
    """All runs of one model.

    Args:
        model: Name of the model in tables.
        checkpoint: Where its weights were read; None before training, or for predictions made elsewhere.
        weights_sha256: Hash of the weights; None for predictions made elsewhere.
        config_sha256: Hash of the compiled config.
        predictions: Path of predictions made elsewhere, otherwise None.
        device: The device, in words, with the number format.
        processes: Number of processes that shared the data.
        versions: Version of each library by name.
        date: ISO date and time of the end, UTC.
        trained_on: Titles of the data sets the model was trained on; None if its checkpoint does not say.
        runs: One entry per benchmark, split and protocol.
    """

    format: int = FORMAT
    model: str
    checkpoint: str | None = None
    weights_sha256: str | None = None
    config_sha256: str | None = None
    predictions: str | None = None
    device: str = ''
    processes: int = 1
    versions: dict[str, str] = {}
    date: str = ''
    trained_on: list[str] | None = None
    runs: list[Run] = []


def write_results(results: Results, folder: Path) -> Path:
    """Write ``results.json`` into a folder; returns its path."""
    path = folder / RESULTS
    # through a second file: a broken-off write leaves the old one
    partial = path.with_suffix('.partial')
    partial.write_text(results.model_dump_json(indent=1), encoding='utf-8')
    partial.replace(path)
    return path


def read_results(path: Path) -> Results:
    """Read a ``results.json``, or the one in a folder.

    Raises:
        DataError: if it is missing or not such a file.
    """
    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise DataError(f'{file} is missing. Give a folder or results.json that tools/test.py --out wrote.', file=file)
    try:
        found = Results.model_validate_json(file.read_text(encoding='utf-8'))
    except (ValidationError, UnicodeDecodeError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        where = ': '.join(str(part) for part in (*faults[0]['loc'], faults[0]['msg'])) if faults else str(error)
        raise DataError(f'{file} is no results.json of tools/test.py --out FOLDER ({where}).', file=file) from error
    if found.format != FORMAT:
        raise DataError(f'{file} has format {found.format}; this version reads format {FORMAT}. Evaluate again.', file=file)
    return found


def rows_folder(folder: Path, run: Run) -> Path:
    """The folder of a run's files."""
    return folder / f'{run.benchmark}_{run.split}_{run.protocol}'


def write_rows(judged: Sequence[Judged], path: Path) -> None:
    """Write judged questions, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    with partial.open('w', encoding='utf-8') as file:
        for one in judged:
            file.write(json.dumps(one.to_json(), ensure_ascii=False) + '\n')
    partial.replace(path)


def read_rows(path: Path) -> Iterator[Judged]:
    """Read judged questions.

    Raises:
        DataError: for a missing file or a broken line.
    """
    if not path.is_file():
        raise DataError(
            f'{path} is missing: the questions of this run were not kept. Evaluate again with --out FOLDER.', file=path
        )
    with path.open(encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            try:
                values: Any = json.loads(line)
                yield Judged.from_json(values)
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f'{path}: line {number} is no judged question ({error}). Evaluate again.', file=path) from error


def rows_of(run: Run, folder: Path) -> list[Judged] | None:
    """The judged questions of a run of ``folder/results.json``; None if they were not kept."""
    return None if run.rows is None else list(read_rows(folder / run.rows))
