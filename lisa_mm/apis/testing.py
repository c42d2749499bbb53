"""Evaluation of a checkpoint, with the controls that show whether it listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from ..datasets.base import BaseSegDataset
from ..datasets.images import image_size
from ..datasets.masks import decode_mask
from ..engine.runner import LisaRunner
from ..errors import ConfigError
from ..evaluation.seg_iou import intersection_and_union, iou, summarise
from ..models import LISA
from ..progress import progress
from .loading import load_model

Pairs = list[tuple[int, int]]


def evaluate(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    *,
    split: str = 'test',
    controls: bool = False,
    device: str | None = None,
    dtype: str = 'float32',
) -> dict[str, Any]:
    """gIoU and cIoU of a checkpoint on the config's test (or val) data.

    Args:
        config: A config file or source.
        checkpoint: A checkpoint folder; None for the model before training.
        split: 'test' or 'val': which dataloader of the config.
        controls: Also score an empty mask, the union of all objects, and the question of another object.
        device: Where the model runs; 'cuda' where there is one if left out.
        dtype: As of :func:`.loading.load_model`.

    Returns:
        ``{'split', 'n', 'gIoU', 'cIoU', 'interval', 'per_mask', 'controls', 'listens'}``; the interval is a 95 % bootstrap of
        gIoU over masks, ``listens`` the mean IoU that the right question gains over another one's, mask by mask, with its
        interval.
    """
    model, compiled = load_model(config, checkpoint, device=device, dtype=dtype)
    loader = compiled.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'the config has no {split}_dataloader. Give --split val, or add one.')
    loader = loader.to_dict()
    named, pairs = run_model(model, loader, f'{split}')
    result = {'split': loader['dataset'].get('split', split), 'n': len(pairs), **score(pairs)}
    result['per_mask'] = {name: iou(*pair) for name, pair in zip(named, pairs, strict=True)}
    if controls:
        result['controls'], other = run_controls(model, loader)
        if other:
            gains = [iou(*pair) - iou(*asked) for pair, asked in zip(pairs, other, strict=True)]
            result['listens'] = {'gain': float(np.mean(gains)), 'interval': bootstrap(gains)}
    return result


def score(pairs: Pairs) -> dict[str, Any]:
    """gIoU and cIoU with a bootstrap interval of gIoU."""
    return {**summarise(pairs), 'interval': bootstrap([iou(*pair) for pair in pairs])}


def bootstrap(values: list[float], rounds: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean; seeded."""
    if not values:
        return (0.0, 0.0)
    array = np.asarray(values)
    draws = np.random.default_rng(0).integers(len(array), size=(rounds, len(array)))
    low, high = np.quantile(array[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)


@torch.no_grad()
def run_model(model: LISA, loader: dict[str, Any], title: str) -> tuple[list[str], Pairs]:
    """Names and (intersection, union) of every mask of a dataloader's config."""
    names: list[str] = []
    pairs: Pairs = []
    for batch in progress(build_loader(loader), title, 'batch'):
        for sample in model.test_step(batch):
            found = intersection_and_union(sample.mask_logits > 0, sample.gt_masks)
            names += [f'{sample.sample_id}[{i}]' for i in range(len(found))]
            pairs += found
    return names, pairs


def build_loader(loader: dict[str, Any]) -> DataLoader:
    """A dataloader from its config."""
    return LisaRunner.build_dataloader(loader, seed=0)


def run_controls(model: LISA, loader: dict[str, Any]) -> tuple[dict[str, Any], Pairs]:
    """Scores that anything may reach without listening, or while listening to another question; the pairs of the latter."""
    pairs = list(blind_pairs(build_loader(loader).dataset))
    unions = [union for _, union in pairs if union is not None]
    results, other = {'empty mask': score([empty for empty, _ in pairs])}, []
    if len(unions) == len(pairs):
        results['union of all objects'] = score(unions)
    if 'control' in loader['dataset'] or loader['dataset']['type'] == 'ReasonSegDataset':
        asked = {**loader, 'dataset': {**loader['dataset'], 'control': 'other_question'}}
        other = run_model(model, asked, 'other question')[1]
        results['question of another object'] = score(other)
    return results, other


def blind_pairs(dataset: BaseSegDataset) -> Iterator[tuple[tuple[int, int], tuple[int, int] | None]]:
    """For each mask asked: (intersection, union) of an empty mask, and of the union of its record's objects.

    None in place of the latter where a record knows only one: the others of the image are in no file.
    """
    for n in progress(range(len(dataset)), 'empty and union', 'image'):
        record = dataset.get_data_info(n)
        asked = dataset.ask(record, np.random.default_rng(0)).masks
        if not asked:
            continue
        height, width = image_size(record['img_path'])

        def draw(spec: dict[str, Any], size: tuple[int, int] = (height, width), name: str = record['sample_id']) -> torch.Tensor:
            return torch.from_numpy(decode_mask(spec, *size, name))

        known = [draw({'shapes': other['shapes']}) == 1 for other in record.get('targets', [])]
        objects = torch.stack(known).any(0)[None] if len(known) > 1 else None
        for spec in asked:
            target = draw(spec)[None]
            empty = intersection_and_union(torch.zeros_like(target, dtype=torch.bool), target)[0]
            yield empty, None if objects is None else intersection_and_union(objects, target)[0]


def table(result: dict[str, Any]) -> str:
    """The scores in words."""
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
