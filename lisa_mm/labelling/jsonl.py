"""Labels as rows of our own schema, for :class:`lisa_mm.datasets.JsonlSegDataset`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..datasets.tokenizer import count_masks
from .files import GrowingFile
from .item import LabelItem
from .writer import NO_MASK, LabelWriter

UNITED = 'answers of several masks without a mask token for each: the union is the label'


class JsonlLabels(LabelWriter):
    """``out/labels.jsonl``, masks as run lengths: nothing of a mask is lost.

    A question of one mask becomes a phrase or a question, which training answers with the recipe's strings; the model's own words
    are left out. An answer of several masks keeps its words, whose ``[SEG]`` say which mask is which.
    """

    def __init__(self, out: str | Path, *, images: str | Path):
        super().__init__(out, images=images)
        self.file = GrowingFile(self.out / 'labels.jsonl')
        if self.file.cut:
            self.notes[f'{self.file.path}: a last line that was cut was taken out'] += 1
        self._ids = {row.get('id') for row in self.file.rows()}

    def _add(self, item: LabelItem, name: str) -> bool:
        if not item.rles:
            self.notes[NO_MASK] += 1
            return False
        number = f'{name}: {item.label}'
        if number in self._ids:
            return self._known()
        row: dict[str, Any] = {'id': number, 'image': Path(os.path.relpath(item.image, self.out)).as_posix()}
        if len(item.rles) > 1 and count_masks(item.text) == len(item.rles):
            row |= {'question': item.label, 'answer': item.text}
        else:
            self.notes[UNITED] += len(item.rles) > 1
            row['question' if item.is_sentence else 'phrase'] = item.label
        self.file.add({**row, 'masks': list(item.rles)})
        self._ids.add(number)
        return True

    def finish(self) -> list[Path]:
        return [self.file.path]
