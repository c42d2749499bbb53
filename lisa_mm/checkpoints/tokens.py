"""Check that the tokenizer's ``[SEG]`` id matches the embedding rows."""

from __future__ import annotations

from pathlib import Path

from ..datasets.tokenizer import build_tokenizer
from ..errors import CheckpointError
from ..file_kinds import TOKENIZER_FILES
from ..tokens import IMAGE_END, IMAGE_START, SEG_TOKEN, token_id


def seg_token(folder: Path, rows: int, *, template: str) -> tuple[int, bool]:
    """The id of ``[SEG]`` in a trained LISA, and whether images are wrapped in ``<im_start>``, ``<im_end>``.

    The published program adds ``[SEG]`` and then the two image tokens to the vocabulary (unless they are there, as in LLaVA
    Lightning 7B), then gives embeddings and head as many rows as the tokenizer has tokens. So the ids are the last rows.

    Args:
        folder: Folder with the tokenizer's files; the three tokens are registered if they are missing.
        rows: Number of rows of embeddings and head.
        template: Conversation template.

    Raises:
        CheckpointError: if the ids do not match the rows.
    """
    require_tokenizer(folder)
    lengths = {}
    for wrapped in (True, False):
        tokenizer = build_tokenizer(str(folder), template, wrapped)
        lengths[wrapped] = len(tokenizer)
        if len(tokenizer) != rows:
            continue
        seg, start, end = (token_id(tokenizer, token) for token in (SEG_TOKEN, IMAGE_START, IMAGE_END))
        expected = [(rows - 3, rows - 2, rows - 1)] if wrapped else []
        if seg == rows - 1 and (not wrapped or (start < end < seg)):
            return seg, wrapped
        if (seg, start, end) in expected:
            return seg, wrapped
        raise CheckpointError(
            f'{folder}: the tokenizer says [SEG] is {seg} (<im_start> {start}, <im_end> {end}), but with {rows} rows the head '
            f'was trained with [SEG] at {rows - 3 if wrapped else rows - 1} (or {rows - 1} with both image tokens before it). '
            'Every mask would be lost. Give the tokenizer that belongs to these weights (look at its added_tokens.json).'
        )
    raise CheckpointError(
        f'{folder}: the tokenizer has {lengths[True]} tokens with [SEG], <im_start>, <im_end> ({lengths[False]} with [SEG] '
        f'alone), but embeddings and head have {rows} rows: the id of [SEG] would not be the one that was trained. '
        'Give the tokenizer that belongs to these weights.'
    )


def require_tokenizer(folder: Path) -> None:
    """Raise if a folder holds no tokenizer."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES[:2]):
        raise CheckpointError(
            f'{folder} holds no {" or ".join(TOKENIZER_FILES[:2])}. Download the tokenizer of this model into it.'
        )
