"""Evaluate what the model says by itself."""

from __future__ import annotations

from typing import Any

from lisa_mm.datasets.conversation import said_text, stop_ids
from lisa_mm.datasets.tokenizer import build_tokenizer, check_tokens, count_masks
from lisa_mm.models import LISA
from lisa_mm.structures import SegDataSample


def generate_answers(model: LISA, batch: dict[str, Any], max_new_tokens: int, *, binary: bool = False) -> list[SegDataSample]:
    """Answer the rows of a batch greedily.

    Args:
        model: The model.
        batch: Rows up to their last answer, from a data set with ``answers='generated'``.
        max_new_tokens: Maximum number of new tokens of an answer.
        binary: Set ``masks`` in place of ``mask_logits``, see :meth:`LISA.predict`.

    Returns:
        The data samples with ``answers`` and ``masks_said``, a text and its number of masks for each row, and with the masks of
        all rows in their order, those of earlier turns first. :mod:`lisa_mm.evaluation.judged` puts them beside the targets.
    """
    spec = model.mllm.tokenizer_spec
    tokenizer = build_tokenizer(**spec)
    batch = model.data_preprocessor(batch)
    options = {
        'max_new_tokens': max_new_tokens,
        'eos_token_id': stop_ids(spec['template'], tokenizer),
        'pad_token_id': tokenizer.pad_token_id,
    }
    samples: list[SegDataSample] = model(**batch, mode='generate', binary=binary, **options)
    lengths = batch['inputs']['attention_mask'].sum(1).tolist()
    images = batch['inputs']['image_index'].tolist()
    names = check_tokens(spec['mask_tokens'], spec['answer_tokens'])
    for number, sample in enumerate(samples):
        own = [length for length, image in zip(lengths, images, strict=True) if image == number]
        new = [output.ids[length:] for output, length in zip(sample.generated, own, strict=True)]
        answers = [said_text(ids.tolist(), tokenizer, names) for ids in new]
        said = [count_masks(answer, spec['mask_tokens']) for answer in answers]
        sample.set_data({'answers': answers, 'masks_said': said})
    return samples
