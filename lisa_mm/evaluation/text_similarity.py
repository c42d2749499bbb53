"""How alike two phrases are: a part of the metric of grounded captions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ..errors import ConfigError
from ..registry import TEXT_SIMILARITIES


@TEXT_SIMILARITIES.set_base
class TextSimilarity(ABC):
    """Compares two phrases."""

    label: ClassVar[str]  # names it in the scores that depend on it; in lower case, without blanks

    @abstractmethod
    def __call__(self, first: str, second: str) -> float:
        """At most 1; 1 for equal phrases."""


@TEXT_SIMILARITIES.register_module()
class TokenF1(TextSimilarity):
    """F1 of the words that two phrases share, in lower case and without articles, as in SQuAD's evaluation; needs no model."""

    label = 'token_f1'

    def __call__(self, first: str, second: str) -> float:
        """In [0, 1]; 1 for two phrases without any word.

        >>> TokenF1()('A red cup', 'the cup')
        0.6666666666666666
        """
        one, other = words(first), words(second)
        if not one or not other:
            return float(one == other)
        return 2 * (one & other).total() / (one.total() + other.total())


@TEXT_SIMILARITIES.register_module()
class EncoderSimilarity(TextSimilarity):
    """Cosine of two phrases' mean last states in a text encoder of transformers; GLaMM's program has ``bert-base-uncased``.

    Args:
        path: Folder of the encoder with its tokenizer; nothing is downloaded.
    """

    label = 'encoder'

    def __init__(self, path: str):
        self.path = path
        try:
            AutoConfig.from_pretrained(path, local_files_only=True)  # an evaluation takes hours: a fault shows before it
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f'EncoderSimilarity.path is {path!r}, which holds no text encoder with a tokenizer ({error}). Give a folder of '
                'transformers, such as a copy of bert-base-uncased.'
            ) from error
        self._embed = lru_cache(maxsize=4096)(self._mean_state)  # phrases come again and again

    def __call__(self, first: str, second: str) -> float:
        """In [-1, 1]."""
        return float(torch.cosine_similarity(self._embed(first), self._embed(second), dim=0))

    @cached_property
    def _encoder(self) -> Any:
        return AutoModel.from_pretrained(self.path, local_files_only=True).eval()  # by the process that computes the scores

    @torch.no_grad()
    def _mean_state(self, text: str) -> torch.Tensor:
        """(D,)."""
        inputs = self._tokenizer(text, return_tensors='pt', max_length=512, truncation=True)
        return self._encoder(**inputs).last_hidden_state[0].float().mean(0)


def words(text: str) -> Counter[str]:
    """The words of a phrase in lower case, without articles."""
    return Counter(word for word in re.findall(r'\w+', text.lower()) if word not in ('a', 'an', 'the'))
