"""Encode conversations as tokens."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from torch import Tensor

from ...errors import DataError
from ...registry import TRANSFORMS
from ...tokens import IMAGE_TOKEN_ID, MASK_TOKENS
from ..conversation import encode, render
from ..tokenizer import build_tokenizer, count_masks


@TRANSFORMS.register_module()
class EncodeConversations(BaseTransform):
    """``conversations`` -> ``rows``: a list of (ids, labels); a cut that removes a ``[SEG]`` removes its mask too and counts it.

    Where the answers are to be generated (``answers`` of the data set), a row is its conversation up to the last answer; the
    masks stay, for the evaluation.

    Args:
        tokenizer: Arguments of :func:`build_tokenizer` (derived from the language model).
        num_image_tokens: Tokens of one image (derived from the vision tower); None if a processor gives it for each image.
        max_length: Maximum tokens of a training row, image tokens included; None does not cut. Images are kept or cut whole.
        max_text_length: Maximum text tokens of a training row, without image tokens; None does not cut.
    """

    # pixel_values: in that step a whole model's processor gives the image's tokens
    needs = ('gt_masks', 'pixel_values')
    gives = ('rows',)

    def __init__(
        self,
        tokenizer: dict[str, Any],
        num_image_tokens: int | None = None,
        *,
        max_length: int | None = 512,
        max_text_length: int | None = None,
    ):
        self.spec = dict(tokenizer)
        self.num_image_tokens = num_image_tokens
        self.max_length = max_length
        self.max_text_length = max_text_length
        self.masks_cut = 0
        self._check_room(num_image_tokens or 0)

    def _check_room(self, image_tokens: int) -> None:
        if self.max_length is not None and self.max_length <= image_tokens + 1:
            raise DataError(f'max_length {self.max_length} leaves no room beside {image_tokens} image tokens. Raise max_length.')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image_ids = results.get('image_ids')
        if image_ids is not None and not results['test_mode']:
            self._check_room(len(image_ids))
        tokenizer = build_tokenizer(**self.spec)
        tokens = self.spec.get('mask_tokens', MASK_TOKENS)
        of_masks = torch.tensor(tokenizer.convert_tokens_to_ids(list(tokens)))
        rows, kept, mask = [], [], 0
        systems = results.get('systems') or [None] * len(results['conversations'])
        for turns, system in zip(results['conversations'], systems, strict=True):
            is_open = results.get('answers') == 'generated'
            shown = [*turns[:-1], (turns[-1][0], None)] if is_open else turns
            segments = render(shown, self.spec['template'], tokenizer, system=system)
            ids, labels = encode(
                segments,
                tokenizer,
                num_image_tokens=self.num_image_tokens,
                image_ids=image_ids,
                wrap_image=self.spec['wrap_image'],
            )
            count = int(torch.isin(ids, of_masks).sum())
            if is_open:
                count += count_masks(turns[-1][1] or '', tokens)
                rows.append((ids, labels))
                kept += list(range(mask, mask + count))
                mask += count
                continue
            if not results['test_mode']:
                length = kept_length(ids, self.max_length, self.max_text_length)
                ids, labels = ids[:length], labels[:length]
            left = int(torch.isin(ids, of_masks).sum())
            if left < count:
                self._say_cut(f'{results["sample_id"]}: a row was cut at {len(ids)} tokens', count - left)
            rows.append((ids, labels))
            kept += list(range(mask, mask + left))
            mask += count
        if mask != len(results['gt_masks']):
            raise DataError(
                f'{results["sample_id"]}: {mask} {" or ".join(tokens)} in its conversations but {len(results["gt_masks"])} masks.'
            )
        counts = [
            [count_masks(question + (answer or ''), tokens) for question, answer in turns] for turns in results['conversations']
        ]
        return {**results, 'rows': rows, 'gt_masks': results['gt_masks'][kept], 'mask_counts': counts}

    def _say_cut(self, where: str, masks: int) -> None:
        """Count masks that were cut off; the log gets a line whenever their number has doubled."""
        before, self.masks_cut = self.masks_cut, self.masks_cut + masks
        if before.bit_length() < self.masks_cut.bit_length():
            print_log(
                f'{where}, {masks} mask tokens ([SEG]) and their masks went with it ({self.masks_cut} so far in this worker; the '
                'next line comes when they have doubled): raise max_text_length or max_length of EncodeConversations',
                logger='current',
                level=logging.WARNING,
            )


def kept_length(ids: Tensor, max_length: int | None, max_text_length: int | None = None) -> int:
    """Number of a row's tokens to keep: text is cut as if every image were one token, as the published models were trained.

    Args:
        ids: (L,), image tokens -200.
        max_length: Maximum length of the row, image tokens included.
        max_text_length: Maximum length of the row without image tokens.
    """
    images = ids == IMAGE_TOKEN_ID
    begins = images.clone()
    begins[1:] &= ~images[:-1]
    places = (~images | begins).cumsum(0)  # from 1; an image's tokens share a place
    limits = [len(ids)]
    if max_length is not None:
        limits.append(max_length - int(images.sum()) + int(begins.sum()))
    if max_text_length is not None:
        limits.append(max_text_length + int(begins.sum()))
    return int((places <= min(limits)).sum())
