"""Token ids from the tokenizer or, if its files are absent, from the architecture written in the config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..datasets.tokenizer import added_tokens, build_tokenizer
from ..structures import TokenizerSpec
from ..tokens import MASK_TOKENS, token_id
from .base import BaseMLLM

# Templates of the published models, which use Llama's tokenizer: 32,000 tokens, <unk> is 0, [SEG] is added first
PUBLISHED_TEMPLATES = ('llava_v1', 'llava_llama_2', 'vicuna_v1')


@dataclass(frozen=True)
class TokenIds:
    """Token ids that the rest of the model needs.

    Args:
        masks: Ids of the mask tokens, ``[SEG]`` first; None if neither tokenizer nor architecture gives them.
        pad: Id of padding; None in the same case.
        missing: The tokenizer folder if it is absent; then the ids are planned, not read.
    """

    masks: tuple[int, ...] | None
    pad: int | None
    missing: str | None = None


def planned(mllm: BaseMLLM) -> bool:
    """Whether a model is built only for its shapes and the tokenizer's folder is absent."""
    on_meta = any(parameter.is_meta for parameter in mllm.input_embeddings().parameters())
    return on_meta and not Path(mllm.tokenizer_spec['pretrained']).is_dir()


def planned_vocabulary(spec: TokenizerSpec, architecture: dict[str, Any] | None) -> int | None:
    """Embedding rows of a Llama with the new tokens, before its tokenizer is there; None if they can't be known.

    >>> planned_vocabulary({'template': 'llava_v1', 'wrap_image': True}, {'model_type': 'llama', 'vocab_size': 32000})
    32003
    """
    architecture = architecture or {}
    if architecture.get('model_type') != 'llama' or spec['template'] not in PUBLISHED_TEMPLATES:
        return None
    if 'vocab_size' not in architecture:
        return None
    return int(architecture['vocab_size']) + len(_added(spec))


def token_ids(mllm: BaseMLLM) -> TokenIds:
    """Ids of the mask tokens and padding.

    Raises:
        CheckpointError: if the tokenizer is absent, unless on the meta device with a written architecture.
    """
    spec = mllm.tokenizer_spec
    mask_tokens = spec.get('mask_tokens', MASK_TOKENS)
    if not planned(mllm) or mllm.written is None:
        tokenizer = build_tokenizer(**spec)
        return TokenIds(_ids(tokenizer, mask_tokens), int(tokenizer.pad_token_id))  # pyright: ignore[reportArgumentType] - a tokenizer's pad token is one
    rows = planned_vocabulary(spec, mllm.written)
    if rows is None:
        return TokenIds(None, None, spec['pretrained'])
    first, added = int(mllm.written['vocab_size']), _added(spec)
    return TokenIds(tuple(first + added.index(token) for token in mask_tokens), 0, spec['pretrained'])


def new_token_ids(mllm: BaseMLLM) -> list[int]:
    """Ids of the tokens added to the tokenizer; if its files are absent, the last rows stand for them."""
    spec = mllm.tokenizer_spec
    names = _added(spec)
    if planned(mllm):
        return list(range(mllm.vocab_size - len(names), mllm.vocab_size))
    return list(_ids(build_tokenizer(**spec), names))


def _added(spec: TokenizerSpec) -> list[str]:
    return added_tokens(spec['wrap_image'], spec.get('mask_tokens', MASK_TOKENS), spec.get('answer_tokens', ()))


def _ids(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> tuple[int, ...]:
    return tuple(token_id(tokenizer, name) for name in names)
