"""The plain version of generation: no keys and values are kept, and each new token runs the whole row again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lisa_mm.apis.image_cache import ImageCache
from lisa_mm.models.base import GenerateOutput, ImageEmbeddings
from lisa_mm.models.batch import ModelInputs
from lisa_mm.models.mllms import LlavaMLLM


def generate_without_cache(
    self: LlavaMLLM,
    inputs: ModelInputs,
    *,
    max_new_tokens: int,
    eos_token_id: int | Collection[int] = (),
    pad_token_id: int | None = None,
) -> list[GenerateOutput]:
    """``LlavaMLLM.generate``: vision tower and language model over the whole rows for each token, all layers' states kept.

    Args:
        self: The multimodal LLM.
        inputs: R rows.
        max_new_tokens, eos_token_id: As of transformers' ``generate``.
        pad_token_id: Unused: the result has no padding.
    """
    del pad_token_id
    stops = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id)
    prompts = [ids[mask] for ids, mask in zip(inputs['input_ids'], inputs['attention_mask'], strict=True)]
    rows, going, kept = list(prompts), [True] * len(prompts), []
    states: list[Tensor] = list(prompts)
    for _ in range(max_new_tokens):
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        embeds = self.embed({**inputs, 'input_ids': ids, 'attention_mask': mask})
        model: Any = self.language_model
        out = model.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, output_hidden_states=True)
        kept.append(out.hidden_states)
        for row, length in enumerate(lengths.tolist()):
            if going[row]:
                states[row] = out.hidden_states[-1][row, :length]
                token = out.logits[row, length - 1].float().argmax()
                rows[row] = torch.cat([rows[row], token[None]])
                going[row] = int(token) not in stops
        if not any(going):
            break
    return [GenerateOutput(row, own) for row, own in zip(rows, states, strict=True)]


def encode_again(self: ImageCache, pixels: Tensor, keys: list[bytes]) -> ImageEmbeddings:
    """``ImageCache.encode``: nothing is remembered."""
    del keys
    return self.decoder.encode_image(pixels)
