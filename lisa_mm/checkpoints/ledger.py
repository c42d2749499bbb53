"""What a model was trained on, kept beside its weights.

```
trained_on.json   the data sets, and what is not known
trained_on.npy    their images as 64-bit hashes, see lisa_mm.datasets.identities: 8 bytes an image
```

A checkpoint of training has both files, and so has what is exported from it. The record names the data sets that a training was
given, whether or not each image's turn came before it ended. It begins with the training: what a pretrained part (language model,
vision tower, SAM) has seen is in nobody's file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .folder import find_checkpoint, write_json

RECORD, IMAGES = 'trained_on.json', 'trained_on.npy'  # no *.safetensors or *.bin, which readers of weights would take for theirs
FORMAT = 'lisa_mm ledger 1'


@dataclass(frozen=True)
class TrainedOn:
    """A data set in a ledger.

    Args:
        title: Its title in logs.
        type: Its class.
        group: Its group in the mixture; None outside a mixture.
        split: Its split; None if it has none.
        records: Number of records.
        images: (N,) uint64, ascending: the identities of its images, each once.
    """

    title: str
    type: str
    group: str | None
    split: str | None
    records: int
    images: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """Group and title."""
        return f'{self.group}: {self.title}' if self.group else self.title

    @property
    def sha256(self) -> str:
        """Hash of the list of images."""
        return hashlib.sha256(self.images.astype('<u8').tobytes()).hexdigest()

    @property
    def key(self) -> tuple[Any, ...]:
        """Two entries with the same key are one."""
        return self.name, self.type, self.split, self.records, self.sha256


@dataclass(frozen=True)
class Ledger:
    """What a model was trained on.

    Args:
        data_sets: The data sets, the first training's first.
        unknown: A sentence for each thing that is not known; empty if the record is complete.
    """

    data_sets: tuple[TrainedOn, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the data sets, each once."""
        return list(dict.fromkeys(one.name for one in self.data_sets))

    def merged(self, other: Ledger) -> Ledger:
        """This ledger followed by what only the other one has."""
        known = {one.key: one for one in (*self.data_sets, *other.data_sets)}
        return Ledger(tuple(known.values()), tuple(dict.fromkeys((*self.unknown, *other.unknown))))


def write_ledger(ledger: Ledger, folder: Path) -> None:
    """Write both files into a folder; equal ledgers give equal bytes."""
    entries = [
        {**{key: value for key, value in vars(one).items() if key != 'images'}, 'images': len(one.images), 'sha256': one.sha256}
        for one in ledger.data_sets
    ]
    np.save(folder / IMAGES, np.concatenate([np.empty(0, '<u8'), *(one.images for one in ledger.data_sets)]).astype('<u8'))
    write_json(folder / RECORD, {'format': FORMAT, 'data_sets': entries, 'unknown': list(ledger.unknown)})


def read_ledger(path: str | Path) -> Ledger | None:
    """The ledger of a checkpoint.

    Args:
        path: A checkpoint folder, an exported folder, or a work folder of training (its best validated checkpoint, otherwise the
            last).

    Returns:
        None if it has none: a checkpoint of an earlier version, or a file of weights.

    Raises:
        CheckpointError: if there is no checkpoint, or the ledger is damaged.
    """
    folder = find_checkpoint(path, prefer='best')
    return ledger_in(folder) if folder.is_dir() else None


def ledger_in(folder: Path) -> Ledger | None:
    """The ledger among a folder's own files, also of a published layout; see :func:`read_ledger`."""
    if not (folder / RECORD).is_file():
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding='utf-8'))
        if record['format'] != FORMAT:
            raise ValueError(f'format {record["format"]!r} is not {FORMAT!r}')
        images = np.load(folder / IMAGES, allow_pickle=False)
        ends = np.cumsum([entry['images'] for entry in record['data_sets']], dtype=np.int64).tolist()
        if images.dtype != np.uint64 or images.shape != (ends[-1] if ends else 0,):
            raise ValueError(f'{IMAGES} holds {images.dtype} {images.shape}, {RECORD} says {ends[-1:]} images')
        data_sets = []
        for entry, end in zip(record['data_sets'], ends, strict=True):
            count, sha256 = entry.pop('images'), entry.pop('sha256')
            data_sets.append(TrainedOn(**entry, images=images[end - count : end]))
            if data_sets[-1].sha256 != sha256:
                raise ValueError(f'the images of {data_sets[-1].name} are not those that were written')
        return Ledger(tuple(data_sets), tuple(record['unknown']))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise CheckpointError(
            f'{folder / RECORD} with {IMAGES}, the record of what the model was trained on, is damaged ({error}). Use another '
            'copy of the checkpoint, or delete both files: what it was trained on is then unknown.'
        ) from error
