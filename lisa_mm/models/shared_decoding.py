"""Answers to several questions about an image, whose common prefix lies in the key/value cache once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from .decoding import Watch
from .shared_prefix import SharedRows

# What the loop below knows; for other arguments of generate, transformers' own loop is used
OPTIONS = ('max_new_tokens', 'eos_token_id', 'pad_token_id', 'logits_processor', 'stopping_criteria', 'watch')
# Settings of a model's generation config that leave greedy decoding as it is
_HARMLESS = {
    'bos_token_id', 'eos_token_id', 'pad_token_id', 'decoder_start_token_id', 'transformers_version', 'use_cache', 'do_sample',
    'temperature', 'top_p', 'top_k', 'min_p', 'typical_p', 'max_length', 'max_new_tokens', 'output_attentions',
    'output_hidden_states', 'return_dict_in_generate', 'cache_implementation', 'cache_config', 'num_beams', '_from_model_config',
}  # fmt: skip

# embeds (G, n, D), mask (G, 1, n, all) bool, keep, position_ids (G, n), cache -> states (G, n, D), logits (T, V)
Run = Callable[[Tensor, Tensor, Tensor, Tensor, DynamicCache], tuple[Tensor, Tensor]]


def is_plain(options: Iterable[str], config: GenerationConfig | None) -> bool:
    """Whether :func:`answer_shared` gives what transformers' ``generate`` would give.

    Args:
        options: Names of the given options.
        config: The model's generation config: one with a repetition penalty, for example, is left to transformers.
    """
    settings = set(config.to_diff_dict()) if config is not None else set()
    return set(options) <= set(OPTIONS) and settings <= _HARMLESS


def answer_shared(
    run: Run,
    embed: Callable[[Tensor], Tensor],
    embeds: Tensor,
    shared: SharedRows,
    lengths: Sequence[int],
    cache: DynamicCache,
    options: Mapping[str, Any],
) -> list[tuple[Tensor, Tensor]]:
    """Continue R rows greedily, each to its own end.

    The rows of an image are one sequence in the cache: their prefix, their remainders, and then a token of each row at every
    step. A mask shows each token the prefix and the tokens of its own row.

    Args:
        run: Runs the model.
        embed: Token ids (...) -> embeddings (..., D).
        embeds: (R, L, D), padded on the right.
        shared: The rows joined by their images, G sequences.
        lengths: Tokens of each row.
        cache: An empty cache of the model.
        options: Arguments of ``generate``, out of :data:`OPTIONS`; ``max_new_tokens`` must be given.

    Returns:
        As :meth:`lisa_mm.models.base.BaseLanguageModel.generate`.
    """
    device, (rows, _, width) = embeds.device, embeds.shape
    integers: dict[str, Any] = {'dtype': torch.long, 'device': device}
    stops = torch.tensor(_as_list(options.get('eos_token_id')), **integers)
    watch: Watch | None = options.get('watch')

    # The prompts
    group, slot, length = (torch.tensor(list(values), **integers) for values in (shared.group, shared.slot, lengths))
    (groups, longest), slots = shared.row.shape, max(shared.slot) + 1
    last = shared.place[torch.arange(rows, device=device), length - 1]  # (R,), among the G * P tokens
    mask = shared.mask
    states, logits = run(embeds[shared.row, shared.position], mask, last, shared.position, cache)
    prompt_states = states.flatten(0, 1)[shared.place]  # (R, L, D)
    current = states.flatten(0, 1)[last]  # (R, D)

    # What each row sees: of the prompts what its last token saw, of the new tokens its own
    seen = torch.zeros(groups, slots, longest, dtype=torch.bool, device=device)
    seen[group, slot] = mask[group, 0, last % longest]
    own = torch.eye(slots, dtype=torch.bool, device=device).expand(groups, -1, -1)
    position = torch.zeros(groups, slots, **integers)
    position[group, slot] = length
    keep = group * slots + slot

    new: list[Tensor] = []
    going_on: list[Tensor] = []  # rows that had not ended before each token
    new_states: list[Tensor] = []
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    ids = torch.zeros(rows, 0, **integers)
    while True:
        # A token of each row
        scores = logits.float()
        for processor in options.get('logits_processor') or ():
            scores = processor(ids, scores)
        tokens = scores.argmax(-1)
        if options.get('pad_token_id') is not None:
            tokens = tokens.masked_fill(ended, options['pad_token_id'])
        new.append(tokens)
        going_on.append(~ended)
        if watch is not None:
            watch(tokens, current)
        ids = torch.stack(new, dim=1)
        ended = ended | torch.isin(tokens, stops)
        for criterion in options.get('stopping_criteria') or ():
            ended = ended | criterion(ids, scores)
        if len(new) >= options['max_new_tokens'] or bool(ended.all()):
            break

        # Its state
        step = torch.zeros(groups, slots, width, dtype=embeds.dtype, device=device)
        step[group, slot] = embed(tokens).to(embeds.dtype)
        seen = torch.cat([seen, own], dim=-1)
        states, logits = run(step, seen[:, None], keep, position, cache)
        current = states[group, slot]
        new_states.append(current)
        position = position + 1

    after = torch.stack(new_states, dim=1) if new_states else embeds.new_zeros(rows, 0, width)
    found = []
    for row, (count, prompt) in enumerate(zip(torch.stack(going_on).sum(0).tolist(), lengths, strict=True)):
        found.append((ids[row, :count], torch.cat([prompt_states[row, :prompt], after[row, : count - 1].to(states.dtype)])))
    return found


def _as_list(value: int | Sequence[int] | None) -> list[int]:
    return [] if value is None else [int(value)] if isinstance(value, int) else [int(item) for item in value]
