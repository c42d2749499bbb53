"""Score predictions made elsewhere on a benchmark, by the metrics that score our own models."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..engine.lock import locked
from ..engine.versions import library_versions
from ..errors import ConfigError, UserError
from ..evaluation.predictions import judge_predictions, read_predictions
from ..evaluation.results import RESULTS, Results, Run, write_results
from ..reporting import write_report
from .benchmarking import REPORT, describe, keep_rows
from .benchmarks import find_splits
from .split_data import split_hash


def score_predictions(
    predictions: str | Path,
    name: str,
    *,
    data_root: str | Path,
    out: str | Path | None = None,
    model: str | None = None,
    imports: object = None,
) -> Results:
    """Score predictions on a split of a benchmark.

    Args:
        predictions: COCO results, a folder of PNGs, Seg-Zero's ``output_*.json``, or our own rows: docs/score_predictions.md.
        name: See :func:`.benchmarks.find_splits`; it must name one split, such as ``refcoco:val``.
        data_root: Root folder of the benchmark's data.
        out: Folder for ``results.json``, ``report.html`` and the judged questions; None keeps nothing.
        model: Name in tables; by default that of ``predictions``.
        imports: ``custom_imports`` of plugins, already imported.

    Raises:
        ConfigError: for a name of several splits.
        DataError: for predictions that do not belong to the split.
        UserError: if the data are missing, or ``out`` holds results.
    """
    splits = find_splits([name], None, imports)
    if len(splits) != 1:
        raise ConfigError(
            f'{name} has the splits {", ".join(split.name for split in splits)}, and predictions belong to one of them: give '
            f'{splits[0].benchmark}:{splits[0].name}, for instance.'
        )
    (split,) = splits
    metrics = split.build_metrics()
    dataset = split.build_dataset(data_root=str(data_root))
    if isinstance(dataset, str):
        raise UserError(dataset)
    folder = None if out is None else Path(out)
    if folder is not None and (folder / RESULTS).exists():
        raise UserError(f'{folder} holds results already. Give another --out.')
    given = read_predictions(predictions)
    notes: list[str] = []
    judged = judge_predictions(given, dataset, keep_masks=True, notes=notes)
    # what came as a mask without a word counts as said by the model; our own rows say which it was
    protocol: Any = 'given' if any(one.answer is None for one in judged) else 'generated'
    entry = Run(benchmark=split.benchmark, title=split.title, split=split.name, protocol=protocol, metrics=split.metrics)
    entry.split_sha256 = split_hash(dataset)
    entry.notes = notes
    describe(entry, judged, metrics, records=len(dataset))
    results = Results(
        model=model or Path(predictions).stem,
        predictions=str(predictions),
        device='predictions made elsewhere',
        versions=library_versions(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        runs=[entry],
    )
    if folder is not None:
        with locked(folder):
            if all(one.masks is not None for one in judged):
                keep_rows(entry, judged, folder)
            write_results(results, folder)
            write_report([folder], folder / REPORT)
    return results
