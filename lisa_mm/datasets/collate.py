"""Collate samples into a batch: each image appears once, and rows point to it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch.nn.utils.rnn import pad_sequence

from ..tokens import IGNORE_INDEX


@FUNCTIONS.register_module()
def seg_collate(batch: list[dict[str, Any]], pad_token_id: int = 0) -> dict[str, Any]:
    """Collate samples into a batch; :class:`lisa_mm.models.batch.ModelInputs` lists the names and shapes of ``inputs``.

    Args:
        batch: Packed results of the pipeline, one per sample.
        pad_token_id: Pads rows to the longest one (derived from the tokenizer).
    """
    rows = [row for item in batch for row in item['inputs']['rows']]
    counts = [len(item['inputs']['rows']) for item in batch]
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    input_ids = pad_sequence([ids for ids, _ in rows], batch_first=True, padding_value=pad_token_id)
    inputs = {
        **stack_images([item['inputs'] for item in batch]),
        'input_ids': input_ids,
        'labels': pad_sequence([labels for _, labels in rows], batch_first=True, padding_value=IGNORE_INDEX),
        'attention_mask': torch.arange(input_ids.shape[1])[None] < lengths[:, None],
        'image_index': torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts)),
    }
    return {'inputs': inputs, 'data_samples': [item['data_sample'] for item in batch]}


def stack_images(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack images of equal size; inputs from a whole model's processor differ in shape per image and stay separate."""
    stacked: dict[str, Any] = {'mask_images': torch.stack([item['mask_image'] for item in items])}
    if 'image_inputs' in items[0]:
        stacked['image_inputs'] = [item['image_inputs'] for item in items]
    else:
        stacked['pixel_values'] = torch.stack([item['pixel_values'] for item in items])
    return stacked
