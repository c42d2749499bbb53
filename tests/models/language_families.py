"""Tiny causal language models of many families with random weights, on the nano tokenizer."""

from __future__ import annotations

import copy
from typing import Any

from .families import TEXT, TOKENIZER

_GEMMA: dict[str, Any] = dict(head_dim=8, query_pre_attn_scalar=8, tie_word_embeddings=True)
_WINDOW = dict(sliding_window=8)

# What a family has beside the widths of TEXT; windows are shorter than a row, so that they matter
_OF_FAMILY: dict[str, dict[str, Any]] = {
    'llama': dict(),
    'mistral': dict(_WINDOW),
    'qwen2': dict(tie_word_embeddings=True),
    'qwen3': dict(head_dim=8),
    'phi3': dict(_WINDOW, rope_parameters=dict(rope_type='default', rope_theta=10000.0, partial_rotary_factor=1.0)),
    'gemma2': dict(_GEMMA, **_WINDOW),
    'gemma3_text': dict(_GEMMA, **_WINDOW),
    'smollm3': dict(no_rope_layers=[1, 0], tie_word_embeddings=True),
    'olmo2': dict(),
}
LANGUAGE_FAMILIES: dict[str, dict[str, Any]] = {
    family: dict(
        type='CausalLM',
        config=dict(model_type=family, **TEXT, **more),
        tokenizer=str(TOKENIZER),
        template='plain',
    )
    for family, more in _OF_FAMILY.items()
}


def language_model(family: str) -> dict[str, Any]:
    """Arguments of a tiny ``CausalLM`` of a family."""
    return copy.deepcopy(LANGUAGE_FAMILIES[family])
