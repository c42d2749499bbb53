"""Evaluate a model on benchmarks: several in one run, with the weights loaded once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_rank, get_world_size

from ..checkpoints.ledger import ledger_in
from ..config.load import load_config
from ..datasets.base import ANSWERS, BaseSegDataset
from ..engine.device import describe_device
from ..engine.judging import JudgingLoop
from ..engine.launch import detect_launcher, join_group
from ..engine.lock import locked
from ..engine.versions import library_versions
from ..errors import ConfigError, UserError
from ..evaluation.base import JudgedMetric
from ..evaluation.coco_results import write_coco_results
from ..evaluation.judged import Judged
from ..evaluation.results import Results, Run, Score, read_results, rows_folder, write_results, write_rows

from ..evaluation.results import RESULTS, ROWS  # isort: skip
from ..evaluation.shared_images import find_shared
from ..models import LISA
from ..reporting import write_report
from .benchmarks import Split, find_splits
from .loading import ReadyModel, prepare_model
from .run_identity import weights_identity
from .split_data import arguments_of, loader_arguments, own_split, split_hash

REPORT, COCO_RESULTS = 'report.html', 'coco_results.json'


@dataclass(frozen=True)
class Settings:
    """How benchmarks are evaluated.

    Args:
        answers: Protocols: 'given' puts each answer with its ``[SEG]`` into the prompt (as published by LISA), 'generated' lets
            the model say it.
        limit: Only the first records of each split; the result says so.
        batch_size: Images of a batch; by default that of the config's test loader.
        max_new_tokens: Maximum number of tokens of a generated answer.
    """

    answers: Sequence[str] = ('given',)
    limit: int | None = None
    batch_size: int | None = None
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        unknown = [name for name in self.answers if name not in ANSWERS]
        if unknown or not self.answers:
            raise ConfigError(f'answers are {list(self.answers)}; allowed: {", ".join(map(repr, ANSWERS))}, one or both.')
        for name in ('limit', 'batch_size', 'max_new_tokens'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f'{name} is {value}; give at least 1.')


def run_benchmarks(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    names: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    device: str | None = None,
    dtype: str = 'float32',
    name: str | None = None,
) -> Results:
    """Evaluate a model on benchmarks.

    All data sets are opened before the weights are read. Several processes (torchrun) share the records; each has the whole
    model, and the figures equal those of one process.

    Args:
        config: A config file or source.
        checkpoint: A checkpoint folder; None for the model before training.
        names: See :func:`.benchmarks.find_splits`; without any, the config's own test data.
        out: Folder for ``results.json``, ``report.html`` and the judged questions. A second call with the same model goes on
            there: what is finished is taken over. None keeps nothing.
        settings: See :class:`Settings`.
        device, dtype: As in :func:`.loading.load_model`.
        name: Name of the model in tables.

    Returns:
        The results; complete on the first process, without runs on the others.

    Raises:
        ConfigError: for an unknown benchmark.
        DataError: for damaged data. A split whose files are missing is an absent run instead.
        UserError: if ``out`` holds results of another model.
    """
    settings = settings or Settings()
    launcher = detect_launcher()
    if launcher != 'none' and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    source = config if isinstance(config, Config) else load_config(config)
    ready = prepare_model(source, checkpoint, device=device, dtype=dtype)
    path = None if isinstance(config, Config) else Path(config)
    splits = find_splits(names, path, source.get('custom_imports')) if names else [own_split(ready.compiled)]
    opened = {(split.benchmark, split.name): split.build_dataset(**arguments_of(ready)) for split in splits}
    metrics = {(split.benchmark, split.name): split.build_metrics() for split in splits}
    if all(isinstance(dataset, str) for dataset in opened.values()):
        raise UserError('no benchmark can be run:\n' + '\n'.join(f'{" ".join(key)}: {why}' for key, why in opened.items()))
    folder = None if out is None else Path(out)
    join_group(launcher)
    with nullcontext() if folder is None else locked(folder, owner=get_rank() == 0):
        results = begin(ready, name or _name_of(checkpoint, source), folder)
        model = ready.load()
        for split in splits:
            key = (split.benchmark, split.name)
            for protocol in settings.answers:
                evaluator = Evaluation(split, protocol, opened[key], metrics[key], settings, ready, folder)
                evaluator.run(model, results)
                if folder and get_rank() == 0:
                    write_results(results, folder)
        if folder and get_rank() == 0:
            write_report([folder], folder / REPORT)
    return results


class Evaluation:
    """One split under one protocol.

    Args:
        split: The split.
        protocol: 'given' or 'generated'.
        dataset: Its data set, or why there is none.
        metrics: Its metrics.
        settings: See :class:`Settings`.
        ready: The model's config and checkpoint.
        folder: As ``out`` of :func:`run_benchmarks`.
    """

    def __init__(
        self,
        split: Split,
        protocol: str,
        dataset: BaseSegDataset | str,
        metrics: list[JudgedMetric],
        settings: Settings,
        ready: ReadyModel,
        folder: Path | None,
    ):
        named = {'benchmark': split.benchmark, 'title': split.title, 'split': split.name, 'metrics': split.metrics}
        self.run_entry = Run(**named, protocol=protocol)  # type: ignore[arg-type] - checked by Settings
        self.dataset = dataset
        self.metrics = metrics
        self.settings = settings
        self.ready = ready
        self.folder = folder

    def run(self, model: LISA, results: Results) -> None:
        """Evaluate, and put the run into the results; a run of the same split and model that is finished stays."""
        entry = self.run_entry
        if isinstance(self.dataset, str):
            put(results, entry.model_copy(update={'status': 'absent', 'why': self.dataset}))
            return
        self.dataset.answers = entry.protocol
        entry.split_sha256 = split_hash(self.dataset, self.settings.limit)
        if self.ready.opened is not None:
            entry.shared_images = find_shared(ledger_in(self.ready.opened.folder), self.dataset)
        before = next((run for run in results.runs if run.name == entry.name), None)
        finished = [before is not None and self._is_finished(before)]
        broadcast_object_list(finished)  # the first process's folder decides
        if finished[0]:
            return
        loop = JudgingLoop(
            model,
            self.dataset,
            loader_arguments(self.ready, self.settings.batch_size),
            folder=None if self.folder is None else rows_folder(self.folder, entry),
            stamp=self._stamp(results),
            title=entry.name,
            keep_masks=self.folder is not None or any(metric.needs_masks for metric in self.metrics),
            max_new_tokens=self.settings.max_new_tokens,
        )
        began = time.perf_counter()
        done = loop.run(self.settings.limit)
        if loop.taken_up:
            entry.notes.append(f'{loop.taken_up} records were judged before this run went on, so its seconds are not known')
        else:
            entry.seconds = time.perf_counter() - began
        if done is not None:
            judged = [one for image in done.values() for one in image]
            describe(entry, judged, self.metrics, records=len(done))
            if self.settings.limit is not None and self.settings.limit < len(self.dataset):
                entry.status, entry.limit = 'limited', self.settings.limit
            if self.folder:
                keep_rows(entry, judged, self.folder)
            put(results, entry)
        loop.forget_parts()

    def _is_finished(self, before: Run) -> bool:
        kept = before.rows is not None and self.folder is not None and (self.folder / before.rows).is_file()
        return kept and before.status != 'absent' and before.split_sha256 == self.run_entry.split_sha256

    def _stamp(self, results: Results) -> str:
        decides = [results.weights_sha256, results.config_sha256, self.ready.dtype, self.run_entry.protocol]
        decides += [self.run_entry.split_sha256, self.settings.max_new_tokens]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def describe(entry: Run, judged: Sequence[Judged], metrics: Sequence[JudgedMetric], *, records: int) -> None:
    """Fill in a run's scores with their intervals, counts and emission rate."""
    for metric in metrics:
        intervals = metric.intervals(judged)
        for name, value in metric.score(judged).items():
            low, high = (None if bound is None or math.isnan(bound) else bound for bound in intervals.get(name, (None, None)))
            full = f'{metric.prefix}/{name}' if metric.prefix else name
            if full in entry.scores:
                raise ConfigError(f'{entry.name}: two metrics give {full!r}. Give one of them a prefix.')
            entry.scores[full] = Score(value=value, low=low, high=high)
    images = {one.img_path or one.sample_id for one in judged}
    entry.counts = {'records': records, 'questions': len(judged), 'images': len(images)}
    said = [one for one in judged if one.answer is not None]
    entry.emission_rate = sum(bool(one.predicted) for one in said) / len(said) if said else None


def keep_rows(entry: Run, judged: Sequence[Judged], folder: Path) -> None:
    """Write a run's questions, and its masks as COCO results with their ground truth."""
    path = rows_folder(folder, entry) / ROWS
    write_rows(judged, path)
    write_coco_results(judged, path.with_name(COCO_RESULTS))
    entry.rows = path.relative_to(folder).as_posix()


def put(results: Results, run: Run) -> None:
    """Add a run, or replace the one of its name."""
    names = [one.name for one in results.runs]
    if run.name in names:
        results.runs[names.index(run.name)] = run
    else:
        results.runs.append(run)


def begin(ready: ReadyModel, name: str, folder: Path | None) -> Results:
    """Results without runs, or those of the same model that a folder holds.

    Raises:
        UserError: if the folder holds results of another model.
    """
    config = hashlib.sha256(json.dumps(ready.compiled.model.to_dict(), sort_keys=True, default=str).encode()).hexdigest()
    ledger = None if ready.opened is None else ledger_in(ready.opened.folder)
    results = Results(
        model=name,
        checkpoint=None if ready.opened is None else str(ready.opened.folder),
        weights_sha256=None if ready.opened is None else weights_identity(ready.opened),
        config_sha256=config,
        device=describe_device(ready.device, ready.dtype),
        processes=get_world_size(),
        versions=library_versions(),
        trained_on=None if ledger is None else ledger.names,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
    )
    if folder is None or not (folder / RESULTS).exists():
        return results
    before = read_results(folder)
    differs = {'weights_sha256': 'other weights', 'config_sha256': 'another model config', 'device': 'another device'}
    for key, what in differs.items():
        if getattr(before, key) != getattr(results, key):
            raise UserError(
                f'{folder} holds results of {what} ({getattr(before, key)}, now {getattr(results, key)}). Give another --out.'
            )
    results.runs = before.runs
    return results


def _name_of(checkpoint: str | Path | None, config: Config) -> str:
    if checkpoint is not None:
        path = Path(checkpoint).resolve()
        return path.parent.name if path.name.startswith('iter_') else path.name
    return f'{Path(config.filename).stem if config.filename else "model"} before training'
