"""Judge a model on the records of a data set: shared among processes, and taken up again where a run stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_rank, get_world_size
from torch.utils.data import DataLoader

from lisa_mm.datasets.base import BaseSegDataset
from lisa_mm.evaluation.judged import Judged, judge
from lisa_mm.models import LISA
from lisa_mm.progress import progress

from .generated_answers import generate_answers
from .processes import together

Done = dict[int, list[Judged]]  # record number -> its questions


class JudgingLoop:
    """Runs a model over records of a data set and counts the pixels of every question.

    Each process takes every n-th record that is left, and writes what it has judged to a file of its own after every batch. A
    second run with the same ``stamp`` goes on there; one with another stamp begins anew.

    Args:
        model: The model, whole on every process.
        dataset: The data set, in test mode, with its pipeline and ``answers``.
        loader: Arguments of torch's ``DataLoader``: ``batch_size``, ``num_workers``, ``collate_fn``.
        folder: Folder of the unfinished parts, which all processes see; None keeps nothing.
        stamp: Hash of all that decides the answers.
        title: Label of the progress bar.
        keep_masks: Whether to keep the masks as run lengths.
        max_new_tokens: Maximum number of tokens of a generated answer.
    """

    def __init__(
        self,
        model: LISA,
        dataset: BaseSegDataset,
        loader: dict[str, Any],
        *,
        folder: Path | None,
        stamp: str,
        title: str,
        keep_masks: bool = True,
        max_new_tokens: int = 512,
    ):
        self.model = model
        self.dataset = dataset
        self.loader = loader
        self.folder = folder
        self.stamp = stamp
        self.title = title
        self.keep_masks = keep_masks
        self.max_new_tokens = max_new_tokens
        self.taken_up = 0  # records of an earlier run, once run() has begun

    @property
    def _own_part(self) -> Path | None:
        return self.folder / f'part_{get_rank()}.jsonl' if self.folder else None

    def run(self, limit: int | None = None) -> Done | None:
        """Judge all records, or the first ``limit``; on the first process their questions by record, in order, None elsewhere.

        Raises:
            RuntimeError: if a record came twice or was lost.
        """
        wanted = range(len(self.dataset) if limit is None else min(limit, len(self.dataset)))
        with together():
            before = self._taken_up() if get_rank() == 0 else {}
        known = [sorted(before)]
        broadcast_object_list(known)
        self.taken_up = len(known[0])
        left = sorted(set(wanted) - set(known[0]))
        own = left[get_rank() :: get_world_size()]
        with together():
            if get_rank() == 0 and self.folder:
                self._begin_anew(before)
        with together():
            new = dict(self._judge(own, self.taken_up, len(wanted)))
        parts: list[Done] = all_gather_object(new) if get_world_size() > 1 else [new]
        if get_rank() != 0:
            return None
        merged = [*before.items(), *(item for part in parts for item in part.items())]
        if sorted(number for number, _ in merged) != list(wanted):
            raise RuntimeError(f'{self.title}: {len(merged)} records were judged where {len(wanted)} were asked for')
        return dict(sorted(merged))

    @torch.no_grad()
    def _judge(self, numbers: Sequence[int], done: int, total: int) -> Iterator[tuple[int, list[Judged]]]:
        """Judge records, in batches."""
        loader = DataLoader(self.dataset, sampler=numbers, **self.loader)
        size = self.loader.get('batch_size') or 1
        desc = f'{self.title} ({done} of {total} done before)' if done else self.title
        batches = progress(loader, desc, 'batch') if get_rank() == 0 else loader
        part = self._own_part
        file = part.open('a', encoding='utf-8') if part else None
        try:
            for place, batch in enumerate(batches):
                samples = self._run(batch)
                for number, sample in zip(numbers[place * size : (place + 1) * size], samples, strict=True):
                    judged = judge(dict(sample.all_items()), keep_masks=self.keep_masks)
                    if file:
                        file.write(json.dumps({'record': number, 'judged': [one.to_json() for one in judged]}) + '\n')
                    yield number, judged
                if file:
                    file.flush()
        finally:
            if file:
                file.close()

    def _run(self, batch: dict[str, Any]) -> Sequence[Any]:
        if self.dataset.answers == 'given':
            return self.model(**self.model.data_preprocessor(batch), mode='predict', binary=True)
        return generate_answers(self.model, batch, self.max_new_tokens, binary=True)

    def _taken_up(self) -> Done:
        """What earlier runs with the same stamp have judged."""
        found: Done = {}
        for path in sorted(self.folder.glob('part_*.jsonl')) if self.folder else ():
            found |= dict(read_part(path, self.stamp))
        return found

    def _begin_anew(self, before: Done) -> None:
        """One part with what was judged before; the other processes' parts begin empty."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({'stamp': self.stamp})]
        lines += [json.dumps({'record': n, 'judged': [one.to_json() for one in judged]}) for n, judged in before.items()]
        partial = self.folder / 'part.partial'
        partial.write_text('\n'.join(lines) + '\n', encoding='utf-8')
        partial.replace(self.folder / 'part_0.jsonl')
        for path in self.folder.glob('part_*.jsonl'):
            if path.name != 'part_0.jsonl':
                path.unlink()
        for rank in range(1, get_world_size()):
            (self.folder / f'part_{rank}.jsonl').write_text(lines[0] + '\n', encoding='utf-8')

    def forget_parts(self) -> None:
        """Remove the unfinished parts, once their questions are kept elsewhere; all processes must call it."""
        barrier()
        if get_rank() == 0 and self.folder:
            for path in self.folder.glob('part_*.jsonl'):
                path.unlink()


def read_part(path: Path, stamp: str) -> Iterator[tuple[int, list[Judged]]]:
    """The records of a part with this stamp; a last line that was cut off when the run broke off is judged again."""
    lines = path.read_text(encoding='utf-8').split('\n')
    whole = lines[:-1]  # each ends with a line break
    if not whole or json.loads(whole[0]) != {'stamp': stamp}:
        return
    for line in whole[1:]:
        values = json.loads(line)
        yield values['record'], [Judged.from_json(one) for one in values['judged']]
