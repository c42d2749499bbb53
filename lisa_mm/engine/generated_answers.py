"""Evaluate what the model says by itself: answers, and their masks matched to the targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lisa_mm.datasets.conversation import said_text, stop_ids
from lisa_mm.datasets.tokenizer import build_tokenizer, check_tokens, count_masks
from lisa_mm.errors import DataError
from lisa_mm.models import LISA
from lisa_mm.structures import SegDataSample, TokenizerSpec

NOTHING = -1e4  # logit of a mask that was not said; half precision has it too


def generate_answers(model: LISA, batch: dict[str, Any], max_new_tokens: int) -> list[SegDataSample]:
    """Answer the rows of a batch greedily.

    Args:
        model: The model.
        batch: Rows up to their last answer, from a data set with ``answers='generated'``.
        max_new_tokens: Maximum number of new tokens of an answer.

    Returns:
        The data samples with ``answers``, a text for each row, and ``mask_logits`` (K, H, W) as ``gt_masks``: the masks of an
        answer are united, and an answer without any gives an empty mask.

    Raises:
        DataError: for an answer with several targets, whose order the model need not keep.
    """
    spec = model.mllm.tokenizer_spec
    tokenizer = build_tokenizer(**spec)
    batch = model.data_preprocessor(batch)
    options = {
        'max_new_tokens': max_new_tokens,
        'eos_token_id': stop_ids(spec['template'], tokenizer),
        'pad_token_id': tokenizer.pad_token_id,
    }
    samples: list[SegDataSample] = model(**batch, mode='generate', **options)
    lengths = batch['inputs']['attention_mask'].sum(1).tolist()
    images = batch['inputs']['image_index'].tolist()
    for number, sample in enumerate(samples):
        own = [length for length, image in zip(lengths, images, strict=True) if image == number]
        new = [output.ids[length:] for output, length in zip(sample.generated, own, strict=True)]
        names = check_tokens(spec['mask_tokens'], spec['answer_tokens'])
        answers = [said_text(ids.tolist(), tokenizer, names) for ids in new]
        sample.set_data({'answers': answers, 'mask_logits': match_targets(sample, answers, spec)})
    return samples


def match_targets(sample: SegDataSample, answers: list[str], spec: TokenizerSpec) -> Tensor:
    """The masks of answers -> one for each target.

    Args:
        sample: A sample with the ``mask_logits`` of its rows, those of earlier turns first.
        answers: What was said, one text per row.
        spec: The model's ``tokenizer_spec``.

    Returns:
        (K, H, W) as ``gt_masks``.
    """
    tokens = spec['mask_tokens']
    matched, place = [], 0
    nothing = sample.mask_logits.new_full(sample.original_size, NOTHING)
    for turns, answer in zip(sample.conversations, answers, strict=True):
        *before, targets = [count_masks(question + (given or ''), tokens) for question, given in turns]
        earlier = sum(before)
        matched += list(sample.mask_logits[place : place + earlier])
        place += earlier
        said = sample.mask_logits[place : place + count_masks(answer, tokens)]
        place += len(said)
        if targets > 1:
            raise DataError(
                f"{sample.sample_id}: an answer has {targets} targets, and answers='generated' compares one. Use "
                "answers='given', or ask for one at a time."
            )
        if targets:
            matched.append(said.amax(0) if len(said) else nothing)
    return torch.stack(matched) if matched else sample.mask_logits[:0]
