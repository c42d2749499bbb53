"""How training departs from the recipe's strings: bare questions, and an answer that says that nothing is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import prompts
from .masks import EncodedMask, names_no_region


@dataclass(frozen=True)
class Wording:
    """Wording of training questions and answers; without arguments the recipe's, and nothing more is drawn from ``rng``.

    Args:
        bare: Probability that a question is the bare text, from 0 to 1.
        rejection: Answer token of a question whose target is empty, such as '[REJ]'; None answers it with ``[SEG]`` and an
            empty mask.
    """

    bare: float = 0.0
    rejection: str | None = None

    def bare_question(self, text: str, rng: np.random.Generator) -> str | None:
        """The text alone with probability ``bare``, otherwise None: the recipe's string is to be drawn."""
        if self.bare > 0 and rng.random() < self.bare:
            return prompts.BARE_QUESTION.format(text=text.strip())
        return None

    def rejects(self, mask: EncodedMask) -> bool:
        """Whether the answer about this target is a rejection, which has no mask."""
        return self.rejection is not None and names_no_region(mask)

    def rejecting_answer(self, mask: EncodedMask, rng: np.random.Generator) -> str | None:
        """An answer with the rejection's token if the target is empty, otherwise None: the recipe's answer is to be drawn."""
        if not self.rejects(mask):
            return None
        return str(rng.choice(prompts.REJECTING_ANSWERS)).format(token=self.rejection)

    def kept(self, masks: Sequence[EncodedMask]) -> list[EncodedMask]:
        """The masks without those of rejections."""
        return [mask for mask in masks if not self.rejects(mask)]


RECIPE = Wording()


def wording_faults(arguments: Mapping[str, Any], name: str, mask_tokens: Sequence[str]) -> list[str]:
    """Faults of the arguments ``bare`` and ``rejection`` of a data set.

    >>> wording_faults({'bare': 30}, 'ReasonSegDataset', ('[SEG]',))
    ['ReasonSegDataset.bare is 30; it is a probability: give a number from 0 to 1.']
    """
    faults = []
    bare, rejection = arguments.get('bare', 0.0), arguments.get('rejection')
    if isinstance(bare, bool) or not isinstance(bare, (int, float)) or not 0 <= bare <= 1:
        faults.append(f'{name}.bare is {bare!r}; it is a probability: give a number from 0 to 1.')
    if rejection is not None and (not isinstance(rejection, str) or not rejection.strip()):
        faults.append(f"{name}.rejection is {rejection!r}; give one of the language model's answer_tokens, such as '[REJ]'.")
    if isinstance(rejection, str) and rejection in mask_tokens:
        faults.append(
            f'{name}.rejection is {rejection!r}, which asks for a mask: it must be one of answer_tokens, not of mask_tokens.'
        )
    return faults


def file_answers_faults(name: str, arguments: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Faults of arguments that word what the file itself words.

    >>> file_answers_faults('MuseDataset', {'rejection': '[REJ]'}, ('rejection',))
    ["MuseDataset.rejection is '[REJ]', but its answers are those of the file. Leave it out."]
    """
    said = 'questions and answers' if 'bare' in keys else 'answers'
    return [
        f'{name}.{key} is {arguments[key]!r}, but its {said} are those of the file. Leave it out.'
        for key in keys
        if arguments.get(key)
    ]
