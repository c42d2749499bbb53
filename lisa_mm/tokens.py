"""Tokens and numbers that mean the same in the whole package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEG_TOKEN = '[SEG]'
MASK_TOKENS = (SEG_TOKEN,)
IMAGE_START, IMAGE_END = '<im_start>', '<im_end>'
IMAGE_PLACEHOLDER = '<image>'
IMAGE_TOKEN_ID = -200  # one image token in input_ids; never an embedding row (LLaVA's number)
IGNORE_INDEX = -100  # a label that carries no loss
IGNORED = 255  # a pixel of a mask that counts neither way


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of one token."""
    return int(tokenizer.convert_tokens_to_ids(token))  # pyright: ignore[reportArgumentType] - a list has a list of ids alone
