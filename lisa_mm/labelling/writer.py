"""What the writers of labels have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from ..errors import DataError
from .item import LabelItem

EMPTY = 'masks without a pixel: not written, as there is nothing to draw'
NO_MASK = 'answers without a mask: not written, as they label nothing'
KNOWN = 'labels that were there already: left as they are'


class LabelWriter(ABC):
    """Writes labels one by one, over as many runs as it takes. What is in the folder stays there.

    A question about an image is written once: a second time, also in a later run, changes nothing, so a run that stopped
    anywhere may give its last items again. One process writes into a folder at a time.

    Args:
        out: The folder of the labels; it is created.
        images: The folder that the names of images begin at.

    Attributes:
        notes: What a user should know, with counts: what was left out, what is less than exact.
    """

    def __init__(self, out: str | Path, *, images: str | Path):
        self.out = Path(out)
        self.images = Path(images)
        self.notes: Counter[str] = Counter()
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f'{self.out} is a file; the labels need a folder. Give another name.', file=self.out)
        self.out.mkdir(parents=True, exist_ok=True)

    def add(self, item: LabelItem) -> bool:
        """Write a label.

        Returns:
            False if the folder has it already, or it holds nothing that this format can hold; ``notes`` says which.

        Raises:
            DataError: if the image does not lie in the folder of images.
        """
        return self._add(item, self._name(item))

    @abstractmethod
    def _add(self, item: LabelItem, name: str) -> bool:
        """Write a label; ``name`` is the image's path below the folder of images, with "/"."""

    def finish(self) -> list[Path]:
        """Write what only the end can be written with.

        Returns:
            The files or folders to open.
        """
        return [self.out]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def _known(self) -> bool:
        self.notes[KNOWN] += 1
        return False

    def _name(self, item: LabelItem) -> str:
        name = Path(os.path.relpath(item.image, self.images))
        if name.is_absolute() or '..' in name.parts:
            raise DataError(
                f'{item.image} does not lie in {self.images}, where the names of images begin. Name a folder that holds all of '
                'them.',
                file=item.image,
            )
        return name.as_posix()
