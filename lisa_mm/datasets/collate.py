"""Collate samples into a batch: each image appears once, and rows point to it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch.nn.utils.rnn import pad_sequence

from ..structures import CachedImages, FoundFeatures
from ..tokens import IGNORE_INDEX
from .transforms.cached import CachedImage


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
    stacked: dict[str, Any] = {}
    for name, plural in (('pixel_values', 'pixel_values'), ('mask_image', 'mask_images')):
        images = [item[name] for item in items if name in item]
        if images:
            stacked[plural] = torch.stack(images)
    if 'image_inputs' in items[0]:
        stacked['image_inputs'] = [item['image_inputs'] for item in items]
    if 'cached' in items[0]:
        stacked['cached'] = join_cached([item['cached'] for item in items])
    return stacked


def join_cached(images: list[CachedImage]) -> CachedImages:
    """What is known of each image, as one batch."""
    found: dict[str, FoundFeatures] = {}
    for name, (encoder, stored) in images[0].encoders.items():
        entries = {number: image.found[name] for number, image in enumerate(images) if name in image.found}
        first = next(iter(entries.values()), None)
        found[name] = {
            'encoder': encoder,
            'stored': stored,
            'numbers': list(entries),
            'maps': {key: torch.stack([entry.maps[key] for entry in entries.values()]) for key in (first.maps if first else ())},
            'given': first.given if first else {},
        }
    return {
        'keys': [image.key for image in images],
        'original_sizes': [image.original_size for image in images],
        'resized_sizes': [image.resized_size for image in images],
        'found': found,
    }
