"""What generation of several rows needs beside transformers: padding on the left, and rows without their padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def padded_left(values: Tensor, lengths: list[int]) -> Tensor:
    """Move the padding of rows from the right to the left.

    Args:
        values: (R, L, ...).
        lengths: Of each row, without padding.
    """
    width = values.shape[1]
    if all(length == width for length in lengths):
        return values
    return torch.stack([row.roll(width - length, 0) for row, length in zip(values, lengths, strict=True)])


def generate_rows(model: Any, lengths: list[int], options: dict[str, Any], **inputs: Any) -> list[tuple[Tensor, Tensor]]:
    """Run transformers' ``generate`` greedily over rows that are padded on the left.

    Args:
        model: Of transformers.
        lengths: Of each row, without padding.
        options: Of ``generate``; they win over what is set here.
        inputs: Of the model, (R, L, ...) each.

    Returns:
        For each row the new ids with its end, and the states of all but its last token, both without padding.
    """
    given = {'do_sample': False, 'num_beams': 1, **options}
    out = model.generate(**inputs, return_dict_in_generate=True, output_hidden_states=True, use_cache=True, **given)
    width = out.hidden_states[0][-1].shape[1]
    states = torch.cat([step[-1] for step in out.hidden_states], dim=1)  # (R, L + new - 1, D)
    new = out.sequences[:, out.sequences.shape[1] - len(out.hidden_states) :]  # (R, new)
    rows = []
    for row, (length, count) in enumerate(zip(lengths, _ends(model, new, given), strict=True)):
        rows.append((new[row, :count], states[row, width - length : width + count - 1]))
    return rows


def _ends(model: Any, new: Tensor, options: dict[str, Any]) -> list[int]:
    """How many new ids of each row are its own; what follows its end is padding."""
    stops = options.get('eos_token_id', model.generation_config.eos_token_id)
    pad = options.get('pad_token_id', model.generation_config.pad_token_id)
    stops = set() if stops is None else {int(stop) for stop in (stops if isinstance(stops, (list, tuple)) else [stops])}
    counts = []
    for ids in new.tolist():
        end = next((place + 1 for place, token in enumerate(ids) if token in stops), len(ids))
        if len(new) > 1:  # a row that stopped for another reason (stop_strings) is padded without an end of its own
            while end == len(ids) and end > 1 and ids[end - 1] == pad and pad not in stops:
                ids.pop()
                end -= 1
        counts.append(end)
    return counts
