"""The questions of a split, found by the names that files of predictions use."""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...datasets.base import BaseSegDataset
from ...datasets.leaks import COCO_NAME
from ...datasets.masks import EncodedMask
from ...datasets.tokenizer import count_masks
from ...errors import ConfigError, DataError
from ...progress import progress
from .entries import Key, Prediction

NEAR = 3
PARQUET = re.compile(r'^.*#\d+/')  # before image id and annotation id in the name of a parquet file's sample


@dataclass(frozen=True)
class AskedQuestion:
    """A question with a target.

    Args:
        sample_id, img_path, row, turn, question, facts: As in :class:`lisa_mm.evaluation.judged.Judged`.
        targets: Its encoded masks.
    """

    sample_id: str
    img_path: str
    row: int
    turn: int
    question: str
    facts: dict[str, Any]
    targets: list[EncodedMask] = field(repr=False)

    @property
    def name(self) -> str:
        """For messages."""
        return f'{self.sample_id!r} row {self.row} ({self.question!r})'


class Questions:
    """All questions of a split.

    A question is named by its sample or its image, and a number. Names of a sample are its ``sample_id``, the last part of that
    (``refcoco/a.jpg``: ``a.jpg``), and in a parquet file ``image_id/ann_id``. Names of an image are its file's name, with or
    without the suffix, and its COCO number without leading zeros. The number counts the conversations about what is named, from
    0, over all its samples in the order of the data set; it may be left out where there is one.

    Args:
        dataset: A data set in test mode.

    Raises:
        ConfigError: for a data set of training.
    """

    def __init__(self, dataset: BaseSegDataset):
        if not dataset.test_mode:
            raise ConfigError(f'{dataset.title} is built for training: predictions are judged on a data set with test_mode=True.')
        self.title = dataset.title
        self.all: list[AskedQuestion] = []
        self._rows: list[list[list[int]]] = []  # of each sample's conversations, the questions
        self._named: dict[str, list[int]] = defaultdict(list)
        self._samples: dict[str, list[int]] = defaultdict(list)
        self._ids: list[str] = []
        self._images: list[str] = []
        for n in progress(range(len(dataset)), f'questions of {dataset.title}', 'image'):
            record = dataset.get_data_info(n)
            self._ids.append(record['sample_id'])
            self._images.append(record['img_path'])
            self._samples[record['sample_id']].append(n)
            for name in dict.fromkeys(names_of(record)):
                self._named[name].append(n)
            self._rows.append(list(self._ask(dataset, record, n)))

    def _ask(self, dataset: BaseSegDataset, record: Mapping[str, Any], n: int) -> Iterator[list[int]]:
        asked = dataset.ask(dict(record), np.random.default_rng([dataset.seed, n, 1]))  # as the data set's own items
        used = 0
        for row, turns in enumerate(asked.conversations):
            own = []
            for turn, (question, answer) in enumerate(turns):
                count = count_masks(question + (answer or ''), dataset.mask_tokens)
                targets, used = asked.masks[used : used + count], used + count
                if count:
                    own.append(len(self.all))
                    facts = asked.facts[row] if asked.facts else {}
                    text = question.replace('<image>', '').strip()
                    self.all.append(AskedQuestion(record['sample_id'], record['img_path'], row, turn, text, facts, targets))
            yield own
        if used != len(asked.masks):
            raise DataError(f'{record["sample_id"]}: {used} mask tokens in its conversations but {len(asked.masks)} masks.')

    def find(self, prediction: Prediction) -> int | None:
        """The number of the question that a prediction names; None if it names none, or more than one."""
        found = {place for key in prediction.keys if isinstance(place := self._find(key), int)}
        return found.pop() if len(found) == 1 else None

    def fault(self, prediction: Prediction) -> str:
        """Why :meth:`find` finds nothing."""
        found = {place for key in prediction.keys if isinstance(place := self._find(key), int)}
        if len(found) > 1:
            both = ' and '.join(self.all[place].name for place in sorted(found))
            return f'{prediction.where} names several questions: {both}. Rename it.'
        known = [key for key in prediction.keys if key.name in self._named]
        if known:
            return f'{prediction.where}: {self._find(known[0])}.'
        name = prediction.keys[0].name
        near = difflib.get_close_matches(name, self._named, n=NEAR, cutoff=0.6)
        shown = ', '.join(map(repr, near or self._ids[:NEAR]))
        told = f'near names: {shown}' if near else f'its names are such as {shown}'
        return f'{prediction.where}: {name!r} names no question of {self.title}; {told}.'

    def _find(self, key: Key) -> int | str:
        """The number of a question, or why there is none."""
        samples = self._samples.get(key.name) or self._named.get(key.name)
        if not samples:
            return f'{key.name!r} is not known'
        if len({self._images[n] for n in samples}) > 1:
            both = ' and '.join(repr(self._ids[n]) for n in samples[:2])
            return f'{key.name!r} is the name of several images; give the name of the sample, such as {both}'
        rows = [row for n in samples for row in self._rows[n]]
        asking = [row for row in rows if row]
        if key.row is None and len(asking) != 1:
            return f'there are {len(asking)} questions about {key.name!r}; a number (row) must say which, 0 to {len(rows) - 1}'
        if key.row is not None and key.row >= len(rows):
            return (
                f'there are {len(rows)} conversations about {key.name!r}, the row is {key.row}; 0 to {len(rows) - 1} is allowed'
            )
        row = asking[0] if key.row is None else rows[key.row]
        places = [place for place in row if key.turn is None or self.all[place].turn == key.turn]
        if len(places) != 1:
            turns = ', '.join(str(self.all[place].turn) for place in row) or 'none'
            return f'row {key.row or 0} of {key.name!r} has targets in the turns {turns}, the turn is {key.turn}'
        return places[0]


def names_of(record: Mapping[str, Any]) -> Iterator[str]:
    """All names of a sample, see :class:`Questions`."""
    sample_id, path = record['sample_id'], record['img_path']
    yield from (sample_id, sample_id.rpartition('/')[2], PARQUET.sub('', sample_id))
    if path:
        name = os.path.basename(path)
        yield from (name, os.path.splitext(name)[0])
        if match := COCO_NAME.search(name):
            yield str(int(match[1]))
