"""How each row of a batch is answered: greedy or sampled, free or bound to a mask, and how far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.generation import StoppingCriteria

# tokens (R,) of this step and the states (R, D) that predicted them; rows that have ended get padding
Watch = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class AnswerOptions:
    """How one question is answered.

    Args:
        max_new_tokens: Tokens of the answer, at most.
        force_seg: The answer holds a ``[SEG]``: where the model would end without one, or at the last token, it says it.
        no_text: The answer is ``[SEG]`` alone: the mask that the published validation would give.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn, and larger values draw more freely.
        top_p: Draw from the likeliest tokens whose probabilities add up to this.
        top_k: Draw from this many of the likeliest tokens; 0 takes all.
        seed: Seed of the draws of this question; they do not depend on the other questions of a batch.
    """

    max_new_tokens: int = 64
    force_seg: bool = False
    no_text: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    @property
    def is_free(self) -> bool:
        """Whether the likeliest tokens are taken as they come."""
        return not (self.force_seg or self.no_text or self.temperature)


class RowRules(LogitsProcessor):
    """Applies each row's options to its logits, in such a way that greedy decoding then takes the row's token.

    Sampling adds Gumbel noise to the log probabilities, whose maximum is a draw from them (Gumbel, 1954). A generator for each
    row draws the noise, so that an answer does not depend on the rows beside it.

    Args:
        options: One for each of R rows.
        mask_tokens: Ids of the tokens that become masks; the first is said where a rule asks for one.
        stops: Ids that end an answer.
    """

    def __init__(self, options: Sequence[AnswerOptions], mask_tokens: Sequence[int], stops: Collection[int]):
        self.options = options
        self.mask_tokens, self.stops = list(mask_tokens), sorted(stops)
        self.generators = [torch.Generator().manual_seed(option.seed) for option in options]
        self.has_mask = [False] * len(options)
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, n) ids, (R, V) logits -> (R, V)."""
        if self.step:
            said = torch.isin(input_ids[:, -1].cpu(), torch.tensor(self.mask_tokens)).tolist()
            self.has_mask = [before or now for before, now in zip(self.has_mask, said, strict=True)]
        if not all(option.is_free for option in self.options):
            scores = scores.clone()
            for row, option in enumerate(self.options):
                if not option.is_free:
                    self._rule(scores, row, option)
        self.step += 1
        return scores

    def _rule(self, scores: Tensor, row: int, option: AnswerOptions) -> None:
        if option.no_text:
            only(scores, row, self.stops[0] if self.has_mask[row] else self.mask_tokens[0])
            return
        if option.temperature:
            scores[row] = self._drawn(scores[row : row + 1], row, option)
        ends = self.step == option.max_new_tokens - 1 or int(scores[row].argmax()) in self.stops
        if option.force_seg and ends and not self.has_mask[row]:
            only(scores, row, self.mask_tokens[0])

    def _drawn(self, scores: Tensor, row: int, option: AnswerOptions) -> Tensor:
        ids = torch.zeros(1, 0, dtype=torch.long, device=scores.device)
        warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(float(option.temperature))]
        warpers += [TopKLogitsWarper(option.top_k)] if option.top_k else []
        warpers += [TopPLogitsWarper(option.top_p)] if option.top_p < 1 else []
        for warper in warpers:
            scores = warper(ids, scores.float())  # pyright: ignore[reportArgumentType] - transformers' types are of long and float
        noise = -torch.empty(scores.shape[1], dtype=torch.float64).exponential_(generator=self.generators[row]).log()
        return scores[0].log_softmax(-1) + noise.to(scores.device, scores.dtype)


def only(scores: Tensor, row: int, token: int) -> None:
    """Leave a row one token, in place."""
    scores[row] = -torch.inf
    scores[row, token] = 0


class RowLimits(StoppingCriteria):
    """Ends each row after its own number of new tokens, or when it is cancelled.

    Args:
        limits: One for each row.
        is_cancelled: Asked for each row after each token.
    """

    def __init__(self, limits: Sequence[int], is_cancelled: Callable[[int], bool] | None = None):
        self.limits = list(limits)
        self.is_cancelled = is_cancelled
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - transformers types it as one of bools
        """(R, n) ids -> (R,) bool, True for rows that have ended."""
        self.step += 1
        ended = [self.step >= limit for limit in self.limits]
        if self.is_cancelled is not None:
            ended = [end or self.is_cancelled(row) for row, end in enumerate(ended)]
        return torch.tensor(ended, device=input_ids.device)
