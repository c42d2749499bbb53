"""Evaluate a checkpoint, with controls that show whether it listens to the question."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from ..config.compile import datasets_in
from ..datasets.base import BaseSegDataset
from ..datasets.images import image_size
from ..datasets.masks import EncodedMask, decode_mask
from ..engine.launch import detect_launcher
from ..engine.lock import locked
from ..engine.runner import LisaRunner
from ..errors import ConfigError
from ..evaluation.bootstrap import ROUNDS, interval_of_ratio
from ..evaluation.seg_iou import Pairs, SegIoUMetric, giou_interval, intersection_and_union, iou, summarise
from ..models import LISA
from ..progress import progress
from ..registry import DATASETS
from .loading import prepare_model

CONTROL_TITLES = {'other_question': 'question of another object'}


def evaluate(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    *,
    split: str = 'test',
    controls: bool = False,
    answers: str = 'given',
    device: str | None = None,
    dtype: str = 'float32',
    work_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Run every metric of the config on its test (or val) data, through the runner's own ``test()``.

    Several processes (torchrun) share the data, each with a whole copy of the model; the scores equal those of one process.

    Args:
        config: A config file or source.
        checkpoint: A checkpoint folder; None for the model before training.
        split: 'test' or 'val': selects the config's dataloader and evaluator.
        controls: Also score an empty mask, the union of all objects, and the data set's controls (the question about another
            object).
        answers: 'given' puts each answer with its ``[SEG]`` into the prompt (as published); 'generated' lets the model say it:
            the masks of an answer are united, none is an empty mask.
        device: Device of the model; by default 'cuda' if available.
        dtype: As in :func:`.loading.load_model`.
        work_dir: Folder for the log and the hooks' files (pictures); nothing is kept if left out.

    Returns:
        ``{'split', 'answers', 'n', 'gIoU', 'cIoU', 'interval', 'metrics'}``: the interval is a 95 % bootstrap of gIoU over
        images, and ``metrics`` holds all results of the evaluator's metrics. On the first process also ``per_mask``, and with
        ``controls`` the scores of each and ``listens``: the mean gain in IoU of the right question over another one, mask by
        mask, with its interval.

    Raises:
        ConfigError: if the config has no such dataloader or no ``SegIoUMetric`` for it.
    """
    launcher = detect_launcher()
    if launcher != 'none' and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    ready = prepare_model(config, checkpoint, device=device, dtype=dtype)
    compiled = ready.compiled
    loader = compiled.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'the config has no {split}_dataloader. Give --split val, or add one.')
    loader = loader.to_dict()
    evaluation_metrics(compiled, split)
    for dataset, _ in datasets_in(loader['dataset'], ''):
        if not dataset.get('datasets'):
            DATASETS.build({**dataset, 'pipeline': []})  # a fault of the data shows before the weights are read
    model = ready.load()
    with (
        nullcontext(str(work_dir)) if work_dir else TemporaryDirectory() as folder,
        locked(folder, owner=os.environ['RANK'] == '0'),
    ):
        runner = build_evaluation(model, compiled, split, loader, folder, launcher)
        result: dict[str, Any] = {}
        other: list[Pairs] = []
        if controls:  # before the scores themselves, so that their pictures remain
            result['controls'], other = run_controls(runner, loader, answers)
        metrics, pairs = run_pass(runner, loader, split, answers)
        dataset = runner.tests.dataloader.dataset
        close_log(runner)
    result |= {'split': loader['dataset'].get('split', split), 'answers': answers, 'metrics': metrics, **_scores(metrics, runner)}
    if runner.rank == 0:
        result['per_mask'] = _named(dataset, pairs)
        if other:
            result['listens'] = gain_over(pairs, other)
    return result


def close_log(runner: LisaRunner) -> None:
    """Close the log's file: mmengine's current logger outlives the run, and perhaps the folder."""
    for handler in [*runner.logger.handlers]:
        if isinstance(handler, logging.FileHandler):
            handler.close()
            runner.logger.removeHandler(handler)


def build_evaluation(model: LISA, compiled: Config, split: str, loader: dict[str, Any], folder: str, launcher: str) -> LisaRunner:
    """Build a runner that tests a model as it is, with the config's hooks and evaluator."""
    return LisaRunner(
        model,
        work_dir=folder,
        experiment_name=f'evaluation_{time.time_ns()}',
        strategy={'type': 'LisaEvaluationStrategy'},
        launcher=launcher,
        test_dataloader=loader,
        test_evaluator=evaluation_metrics(compiled, split),
        test_cfg={'type': 'EvaluationLoop', 'title': split},
        default_hooks={'checkpoint': None, 'logger': None},
        custom_hooks=list(compiled.get('custom_hooks') or []),
        log_level='WARNING',
        cfg={'init_weights_for_test_or_val': False},  # weights are already loaded
    )


def evaluation_metrics(compiled: Config, split: str) -> list[dict[str, Any]]:
    """The config's metrics for a split, with bootstrap intervals.

    Raises:
        ConfigError: if none gives gIoU and cIoU.
    """
    metrics = compiled.get(f'{split}_evaluator') or []
    listed = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    evaluator = [
        {'bootstrap': ROUNDS, **metric} if metric.get('type') == 'SegIoUMetric' else dict(metric) for metric in map(dict, listed)
    ]
    if not any(metric['type'] == 'SegIoUMetric' for metric in evaluator):
        raise ConfigError(f"{split}_evaluator has no dict(type='SegIoUMetric'), which gives gIoU and cIoU. Add it to the list.")
    return evaluator


def run_pass(
    runner: LisaRunner, loader: dict[str, Any], title: str, answers: str = 'given'
) -> tuple[dict[str, float], list[Pairs]]:
    """Run over a data loader; returns all metrics and, on the first process, each mask's (intersection, union) by image."""
    metrics = runner.test_on(loader, title, answers)
    metric = next(metric for metric in runner.tests.evaluator.metrics if isinstance(metric, SegIoUMetric))
    return metrics, metric.pairs


def _scores(metrics: dict[str, float], runner: LisaRunner) -> dict[str, Any]:
    """The named scores among the metrics, without the prefix from the config."""
    metric = next(metric for metric in runner.tests.evaluator.metrics if isinstance(metric, SegIoUMetric))
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    return {
        'n': int(metrics[f'{prefix}num_masks']),
        'gIoU': metrics[f'{prefix}gIoU'],
        'cIoU': metrics[f'{prefix}cIoU'],
        'interval': (metrics[f'{prefix}gIoU_low'], metrics[f'{prefix}gIoU_high']),
    }


def gain_over(images: list[Pairs], others: list[Pairs]) -> dict[str, Any]:
    """The mean gain in IoU over other answers to the same masks, with its interval by a bootstrap over images."""
    gains = [
        [iou(*pair) - iou(*other) for pair, other in zip(pairs, asked, strict=True)]
        for pairs, asked in zip(images, others, strict=True)
    ]
    sums, counts = [sum(of_image) for of_image in gains], [len(of_image) for of_image in gains]
    return {'gain': sum(sums) / sum(counts) if any(counts) else float('nan'), 'interval': interval_of_ratio(sums, counts)}


def _named(dataset: Any, images: list[Pairs]) -> dict[str, float]:
    """IoU of each mask, by sample name and mask number."""
    named = {}
    for number, image in enumerate(images):
        name = dataset.get_data_info(number)['sample_id']
        named |= {f'{name}[{i}]': iou(*pair) for i, pair in enumerate(image)}
    return named


def score(images: list[Pairs]) -> dict[str, Any]:
    """gIoU and cIoU with a bootstrap interval of gIoU."""
    return {**summarise([pair for pairs in images for pair in pairs]), 'interval': giou_interval(images)}


def run_controls(runner: LisaRunner, loader: dict[str, Any], answers: str = 'given') -> tuple[dict[str, Any], list[Pairs]]:
    """Scores of the controls by name, and the pairs by image of the one that asks another question."""
    results: dict[str, Any] = {}
    other: list[Pairs] = []
    dataset: Any = LisaRunner.build_dataloader(loader, seed=0).dataset
    if runner.rank == 0:
        blind = list(blind_pairs(dataset))
        unions = [union for _, union in blind if union is not None]
        results['empty mask'] = score([empty for empty, _ in blind])
        if len(unions) == len(blind):
            results['union of all objects'] = score(unions)
    for name in dataset.controls():
        asked = {**loader, 'dataset': {**loader['dataset'], 'control': name}}
        other = run_pass(runner, asked, name.replace('_', ' '), answers)[1]
        results[CONTROL_TITLES.get(name, name)] = score(other)  # pyright: ignore[reportArgumentType] - a name is a str
    return results, other


def blind_pairs(dataset: BaseSegDataset) -> Iterator[tuple[Pairs, Pairs | None]]:
    """For each record with masks: the pairs of an empty mask, and of the union of the record's objects, one per mask.

    The latter are None if a record has only one object: no file lists the image's other objects.
    """
    for n in progress(range(len(dataset)), 'empty and union', 'image'):
        record = dataset.get_data_info(n)
        asked = dataset.ask(record, np.random.default_rng(0)).masks
        if not asked:
            continue
        height, width = image_size(record['img_path'])

        def draw(spec: EncodedMask, size: tuple[int, int] = (height, width), name: str = record['sample_id']) -> torch.Tensor:
            return torch.from_numpy(decode_mask(spec, *size, name))

        known = [draw(spec) == 1 for spec in dataset.objects(record)]
        objects = torch.stack(known).any(0)[None] if len(known) > 1 else None
        targets = [draw(spec)[None] for spec in asked]
        empty = [intersection_and_union(torch.zeros_like(target, dtype=torch.bool), target)[0] for target in targets]
        yield empty, None if objects is None else [intersection_and_union(objects, target)[0] for target in targets]


def table(result: dict[str, Any]) -> str:
    """The scores as text."""
    rows = [('model', result), *result.get('controls', {}).items()]
    lines = [f'{"":28s} {"gIoU":>7s}  {"95 % interval":>17s}  {"cIoU":>7s}']
    for name, values in rows:
        low, high = values['interval']
        lines.append(f'{name:28s} {values["gIoU"]:7.4f}  [{low:7.4f},{high:7.4f}]  {values["cIoU"]:7.4f}')
    if 'listens' in result:
        (low, high), gain = result['listens']['interval'], result['listens']['gain']
        lines.append(f'the right question gains {gain:.4f} [{low:.4f}, {high:.4f}] over another one, mask by mask')
    return '\n'.join(lines)


def result_line(result: dict[str, Any]) -> str:
    """The one line that ends an evaluation."""
    return f'RESULT split={result["split"]} gIoU={result["gIoU"]:.4f} cIoU={result["cIoU"]:.4f} n={result["n"]}'
