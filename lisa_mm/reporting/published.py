"""Published figures of other models, each with the place where it was read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from ..evaluation.results import Strict

FILE = Path(__file__).with_name('published.json')


class Source(Strict):
    """Where figures come from.

    Args:
        work: The publication that they are of.
        read_in: Where they were read, with what is uncertain about them.
    """

    work: str
    read_in: str


class PublishedFigures(Strict):
    """A model's figures on one split.

    Args:
        protocol: As in :class:`lisa_mm.evaluation.results.Run`; None if the source does not say it.
        scores: Fractions, not percent.
        source: Name of the source.
    """

    model: str
    benchmark: str
    split: str
    protocol: Literal['given', 'generated'] | None
    scores: dict[str, float]
    source: str


class Published(Strict):
    """The whole file.

    Args:
        sources: By name.
        questions: Number of questions of a published split, by benchmark and split, where it is known.
        figures: All figures.
    """

    sources: dict[str, Source]
    questions: dict[str, int]
    figures: list[PublishedFigures]

    @model_validator(mode='after')
    def _names_known_sources(self) -> Published:
        unknown = {one.source for one in self.figures} - set(self.sources)
        if unknown:
            raise ValueError(f'unknown sources: {sorted(unknown)}')
        return self

    def of(self, benchmark: str, split: str) -> list[PublishedFigures]:
        """The figures on a split."""
        return [one for one in self.figures if (one.benchmark, one.split) == (benchmark, split)]


@lru_cache(maxsize=1)
def read_published() -> Published:
    """The published figures that lisa_mm knows."""
    return Published.model_validate_json(FILE.read_text(encoding='utf-8'))
