"""Measure what a training data set really yields, on its first items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ..datasets.images import image_size
from ..datasets.masks import decode_mask
from ..datasets.mixture import MixtureDataset
from ..registry import DATASETS, TRANSFORMS
from ..visualization import save_figure
from .sets import without_pipeline

if TYPE_CHECKING:
    from ..datasets.base import BaseSegDataset


def measure(dataset_config: dict[str, Any], encoder_config: dict[str, Any], count: int) -> dict[str, Any]:
    """Draw items and count.

    Args:
        dataset_config: Compiled config of the data set.
        encoder_config: The pipeline's EncodeConversations, compiled.
        count: Number of items.

    Returns:
        ``groups`` and ``datasets`` (title -> asked and sampled share), ``tokens_per_row``, ``masks_per_image``, ``mask_areas``
        (shares of the image), ``masks_cut``.
    """
    dataset = DATASETS.build(without_pipeline(dataset_config))
    encoder = TRANSFORMS.build(encoder_config)
    asked = asked_shares(dataset)
    drawn: dict[str, int] = dict.fromkeys(asked['datasets'], 0)
    groups: dict[str, int] = dict.fromkeys(asked['groups'], 0)
    tokens, masks, areas = [], [], []
    for n in range(count):
        sample = dataset[n % len(dataset) if getattr(dataset, 'test_mode', False) else n]
        drawn[sample.get('source', getattr(dataset, 'title', 'all'))] += 1
        groups[sample.get('group', 'all')] += 1
        masks.append(len(sample['encoded_masks']))
        areas += mask_areas(sample)
        placeholder = np.zeros((masks[-1], 1, 1), np.uint8)
        tokens += [len(ids) for ids, _ in encoder({**sample, 'gt_masks': placeholder})['rows']]
    return {
        'items': count,
        'groups': {k: {'asked': asked['groups'][k], 'sampled': groups[k] / count} for k in groups},
        'datasets': {k: {'asked': asked['datasets'][k], 'sampled': drawn[k] / count} for k in drawn},
        'left_out': {d.title: d.left_out for d in members_of(dataset)},
        'tokens_per_row': tokens,
        'masks_per_image': masks,
        'mask_areas': areas,
        'masks_cut': encoder.masks_cut,
    }


def members_of(dataset: BaseSegDataset | MixtureDataset) -> list[Any]:
    """The data sets of a mixture, or a single data set as a list."""
    return dataset.members() if isinstance(dataset, MixtureDataset) else [dataset]


def asked_shares(dataset: BaseSegDataset | MixtureDataset) -> dict[str, dict[str, float]]:
    """The shares requested by the rates."""
    if not isinstance(dataset, MixtureDataset):
        return {'groups': {'all': 1.0}, 'datasets': {getattr(dataset, 'title', 'all'): 1.0}}
    shares = {
        member.title: dataset.shares[group] / len(members) for group, members in dataset.groups.items() for member in members
    }
    return {'groups': dict(dataset.shares), 'datasets': shares}


def mask_areas(sample: dict[str, Any]) -> list[float]:
    """The share of the image covered by each mask."""
    if not sample['encoded_masks']:
        return []
    height, width = image_size(sample['img_path'])
    masks = (decode_mask(spec, height, width, sample['sample_id']) for spec in sample['encoded_masks'])
    return [float((mask == 1).mean()) for mask in masks]


def describe(result: dict[str, Any]) -> str:
    """The numbers as a table."""
    lines = [f'{result["items"]} items', f'{"":34s} {"asked":>8s} {"sampled":>8s}']
    for part in ('groups', 'datasets'):
        lines += [f'  {name:32s} {v["asked"]:8.4f} {v["sampled"]:8.4f}' for name, v in result[part].items()]
    for key, name in (('tokens_per_row', 'tokens a row'), ('masks_per_image', 'masks an image'), ('mask_areas', 'mask area')):
        values = np.array(result[key] or [0])
        quantiles = np.quantile(values, [0, 0.5, 0.95, 1])
        lines.append(
            f'{name:20s} min {quantiles[0]:.4g}, median {quantiles[1]:.4g}, 95 % {quantiles[2]:.4g}, max {quantiles[3]:.4g}'
        )
    if result['masks_cut']:
        lines.append(
            f'{result["masks_cut"]} masks were lost because their row was cut: raise max_text_length of EncodeConversations '
            '(or max_length, where it is set)'
        )
    for title, reasons in result['left_out'].items():
        lines += [f'{title}: {count} left out: {reason}' for reason, count in reasons.items()]
    return '\n'.join(lines)


def plot(result: dict[str, Any], path: str | Path) -> Path:
    """Plot four panels: requested and sampled mixture, tokens per row, masks per image, mask areas."""
    figure = Figure(figsize=(12, 7), layout='constrained')
    axes = figure.subplots(2, 2)
    names = list(result['datasets'])
    positions = np.arange(len(names))
    for offset, key in ((-0.2, 'asked'), (0.2, 'sampled')):
        axes[0, 0].barh(positions + offset, [result['datasets'][n][key] for n in names], height=0.4, label=key)
    axes[0, 0].set_yticks(positions, names, fontsize=7)
    axes[0, 0].legend()
    axes[0, 0].set_xlabel('share of the draws')
    for spot, key, label in (((0, 1), 'tokens_per_row', 'tokens a row'), ((1, 0), 'masks_per_image', 'masks an image')):
        axes[spot].hist(result[key], bins=30)
        axes[spot].set_xlabel(label)
    axes[1, 1].hist(result['mask_areas'], bins=30)
    axes[1, 1].set_xlabel('share of the image that a mask covers')
    return save_figure(figure, path)
