"""The ledger of a training: its own data sets, and what the weights that it began with were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lisa_mm.checkpoints.ledger import Ledger, TrainedOn, ledger_in
from lisa_mm.datasets.base import BaseSegDataset
from lisa_mm.datasets.identities import identities

from .changed_data import grouped_parts


def ledger_of(dataset: Any) -> Ledger:
    """The data sets in a training's data set, which may be a mixture or one of mmengine's wrappers."""
    known, unknown = [], []
    for group, part in grouped_parts(dataset) if dataset is not None else []:
        kind = type(part).__name__
        if not isinstance(part, BaseSegDataset):
            unknown.append(f'{kind} does not derive from BaseSegDataset: its images are not known')
            continue
        split = getattr(part, 'split', None)
        known.append(
            TrainedOn(
                title=part.title,
                type=kind,
                group=group,
                split=split if isinstance(split, str) else None,
                records=len(part),
                images=identities(part),
            )
        )
    return Ledger(tuple(known), tuple(unknown))


def inherited_ledger(folder: Path) -> Ledger:
    """What the weights of a checkpoint or exported folder were trained on; says so if that is not recorded."""
    found = ledger_in(folder)
    # its name, not its place: equal runs in two folders have equal ledgers
    return found or Ledger(unknown=(f'the training began with {folder.name}, which has no record of what it was trained on',))


def describe_ledger(ledger: Ledger) -> str:
    """A line for the log."""
    images = len(np.unique(np.concatenate([np.empty(0, np.uint64), *(one.images for one in ledger.data_sets)])))
    known = len(ledger.data_sets)
    sets = (
        f'{known} data set{"s" if known > 1 else ""} with {images:,} image{"" if images == 1 else "s"}'
        if known
        else 'no data set is known'
    )
    return '; '.join([f'checkpoints record what they were trained on: {sets}', *ledger.unknown])
