"""Turn texts and masks into conversations, with the recipe's strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import prompts
from .base import Asked
from .masks import EncodedMask
from .wording import RECIPE, Wording


@dataclass
class Thing:
    """An object that a question can ask for.

    Args:
        text: A phrase or a sentence; training draws one of several spellings.
        mask: Its encoded mask.
        is_sentence: True if the text is a sentence of its own, False if it names an object.
        facts: What a benchmark's metric reads of it, see :class:`lisa_mm.datasets.base.Asked`.
    """

    text: str | list[str]
    mask: EncodedMask
    is_sentence: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def spellings(self) -> list[str]:
        """All spellings."""
        return [self.text] if isinstance(self.text, str) else self.text


def ask_about(
    things: Sequence[Thing], at_most: int, rng: np.random.Generator, *, test_mode: bool = False, wording: Wording = RECIPE
) -> Asked:
    """Up to ``at_most`` things without replacement, one conversation each; in testing all, with the answer in the prompt.

    Args:
        things: What can be asked for.
        at_most: Maximum number in training.
        rng: Source of all randomness.
        test_mode: True asks for everything with the strings of validation.
        wording: The data set's, see :attr:`BaseSegDataset.wording`; it holds in training.
    """
    if test_mode:
        questions = [prompts.validation_question(thing.spellings[0], thing.is_sentence) for thing in things]
        facts = [thing.facts for thing in things] if any(thing.facts for thing in things) else []
        return Asked([[(q, prompts.VALIDATION_ANSWER)] for q in questions], [thing.mask for thing in things], facts=facts)
    chosen = choose(list(things), at_most, rng)
    return Asked([[turn_about(thing, rng, wording)] for thing in chosen], wording.kept([thing.mask for thing in chosen]))


def turn_about(thing: Thing, rng: np.random.Generator, wording: Wording = RECIPE) -> tuple[str, str]:
    """A question about a thing, and an answer with one ``[SEG]`` or, of a rejection, with none."""
    text = pick(thing.spellings, rng)
    question = wording.bare_question(text, rng)
    if question is None and thing.is_sentence:
        question = pick(prompts.LONG_QUESTIONS, rng).format(sentence=text)
    elif question is None:
        question = pick(prompts.SHORT_QUESTIONS, rng).format(name=text.lower())
    return question, wording.rejecting_answer(thing.mask, rng) or pick(prompts.ANSWERS, rng)


def pick(items: Sequence[str], rng: np.random.Generator) -> str:
    """One of them, uniformly at random."""
    return items[int(rng.integers(len(items)))] if len(items) > 1 else items[0]


def choose(items: list[Any], at_most: int, rng: np.random.Generator) -> list[Any]:
    """Up to ``at_most`` items without replacement; all of them, in order, if there are no more."""
    if len(items) <= at_most:
        return list(items)
    return [items[i] for i in rng.choice(len(items), at_most, replace=False)]


def rows_about(things: Sequence[Thing]) -> list[dict[str, Any]]:
    """Things as rows of the simple schema."""
    return [{('question' if t.is_sentence else 'phrase'): t.spellings[0], 'masks': [t.mask]} for t in things]
