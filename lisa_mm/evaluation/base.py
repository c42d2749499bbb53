"""The base of metrics that read judged questions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from mmengine.evaluator import BaseMetric

from .bootstrap import ROUNDS, interval_of_ratio
from .judged import Judged, judge

Terms = Mapping[str, tuple[float, float]]


class JudgedMetric(BaseMetric):
    """A metric of questions, their targets and their answers, as :class:`lisa_mm.evaluation.judged.Judged` counts them.

    A subclass says in :meth:`terms` what one question adds to the numerator and to the denominator of each score; sums, intervals
    and paired differences follow. A score that is no quotient of sums is computed in :meth:`others`.

    Args:
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    default_prefix = ''  # the names as they are, without mmengine's warning that there is none
    needs_masks: ClassVar[bool] = False  # whether the questions must hold their masks as run lengths
    EPSILONS: ClassVar[Mapping[str, float]] = {}  # what a published program adds to a score's denominator

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)

    @abstractmethod
    def terms(self, judged: Judged) -> Terms:
        """What a question adds to each score it counts in: name -> (numerator, denominator).

        A name of two words, such as ``gIoU short``, is that score of a part of the questions.
        """

    def units(self, judged: Sequence[Judged]) -> Iterator[tuple[str, Terms]]:
        """What the scores sum: the name of an image and terms, by default of each question.

        A metric whose unit is a group of questions about one image overrides it.
        """
        for one in judged:
            yield image_key(one), self.terms(one)

    def others(self, judged: Sequence[Judged]) -> dict[str, float]:
        """Scores that are no quotients of sums, without intervals; by default none."""
        del judged
        return {}

    def counts(self, judged: Sequence[Judged]) -> dict[str, float]:
        """How much there is of what the scores are about."""
        return {'num_questions': float(len(judged))}

    def process(self, data_batch: object, data_samples: Sequence[Any]) -> None:
        """Judge data samples (or their dicts), unless the loop has done so."""
        del data_batch  # the samples hold everything
        for sample in data_samples:
            fields = sample if isinstance(sample, dict) else dict(sample.all_items())
            judged = fields.get('judged')
            # one entry per image: mmengine cuts the entries of all ranks to the number of images, dropping padded duplicates
            self.results.append(judge(fields, keep_masks=self.needs_masks) if judged is None else judged)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Every score of lists of :class:`Judged`, one list per image; a score over nothing is left out."""
        return self.score([one for image in results for one in image])

    def score(self, judged: Sequence[Judged]) -> dict[str, float]:
        """Every score of questions; one over nothing is left out."""
        sums: dict[str, tuple[float, float]] = {}
        for _, terms in self.units(judged):
            for name, (top, bottom) in terms.items():
                before = sums.get(name, (0, 0))
                sums[name] = before[0] + top, before[1] + bottom
        ratios = {name: top / (bottom + self.EPSILONS.get(name.split()[0], 0)) for name, (top, bottom) in sums.items() if bottom}
        return {**ratios, **self.others(judged), **self.counts(judged)}

    def by_image(self, judged: Sequence[Judged], name: str) -> tuple[list[float], list[float]]:
        """Numerators and denominators of one score, summed over the questions of each image, in the order of their first."""
        tops: dict[str, float] = {image_key(one): 0 for one in judged}
        bottoms = dict(tops)
        for key, terms in self.units(judged):
            top, bottom = terms.get(name, (0, 0))
            tops[key] += top
            bottoms[key] += bottom
        return list(tops.values()), list(bottoms.values())

    def intervals(self, judged: Sequence[Judged], rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
        """95 % intervals of the scores that are quotients of sums, by a bootstrap over images."""
        names = dict.fromkeys(name for _, terms in self.units(judged) for name in terms)
        return {name: interval_of_ratio(*self.by_image(judged, name), rounds) for name in names}


def image_key(judged: Judged) -> str:
    """Names a question's image; several samples may be about one file."""
    return judged.img_path or judged.sample_id
