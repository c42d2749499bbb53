"""Generation of several rows, beyond transformers: padding on the left, a view of each token, and results without padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.generation import BaseStreamer

from .decoding import Watch


def padded_left(values: Tensor, attention_mask: Tensor) -> Tensor:
    """Move the padding of rows from the right to the left, without reading the lengths.

    Args:
        values: (R, L, ...).
        attention_mask: (R, L), True for tokens.
    """
    rows, width = attention_mask.shape
    row = torch.arange(rows, device=values.device)[:, None]
    position = torch.arange(width, device=values.device) + attention_mask.sum(1, keepdim=True)
    return values[row, position % width]


def generate_rows(model: Any, options: Mapping[str, object], **inputs: Any) -> list[tuple[Tensor, Tensor]]:
    """Run transformers' ``generate`` greedily over rows padded on the left.

    Args:
        model: A transformers model.
        options: Arguments of ``generate``, which override the settings made here; and ``watch``, called at each token.
        inputs: The model's inputs, (R, L, ...) each, with ``attention_mask``.

    Returns:
        For each row, the new ids with its end token, and the states of all but its last token, both without padding.
    """
    given: dict[str, Any] = {'do_sample': False, 'num_beams': 1, **options}
    with watched(model, given.pop('watch', None)) as more:
        out = model.generate(**inputs, return_dict_in_generate=True, output_hidden_states=True, use_cache=True, **given, **more)
    width = out.hidden_states[0][-1].shape[1]
    states = torch.cat([step[-1] for step in out.hidden_states], dim=1)  # (R, L + new - 1, D)
    new = out.sequences[:, out.sequences.shape[1] - len(out.hidden_states) :]  # (R, new)
    lengths = inputs['attention_mask'].sum(1).tolist()
    rows = []
    for row, (length, count) in enumerate(zip(lengths, _ends(model, new, given), strict=True)):
        rows.append((new[row, :count], states[row, width - length : width + count - 1]))
    return rows


@contextmanager
def watched(model: Any, watch: Watch | None) -> Iterator[dict[str, Any]]:
    """The arguments of transformers' ``generate`` that have ``watch`` called at each token, valid inside the ``with``."""
    if watch is None:
        yield {}
        return
    states: list[Tensor] = []

    def keep(head: nn.Module, arguments: tuple[Tensor]) -> None:
        states[:] = [arguments[0][:, -1]]

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield {'streamer': _Streamer(watch, states)}
    finally:
        hook.remove()


class _Streamer(BaseStreamer):
    def __init__(self, watch: Watch, states: list[Tensor]):
        self.watch, self.states = watch, states

    def put(self, value: Tensor) -> None:
        if value.ndim == 1:  # the prompt comes first, with two dimensions
            self.watch(value, self.states[0])

    def end(self) -> None:
        pass


def _ends(model: Any, new: Tensor, options: Mapping[str, Any]) -> list[int]:
    """The number of new ids of each row; everything after its end token is padding."""
    stops = options.get('eos_token_id', model.generation_config.eos_token_id)
    pad = options.get('pad_token_id', model.generation_config.pad_token_id)
    stops = set() if stops is None else {int(stop) for stop in (stops if isinstance(stops, (list, tuple)) else [stops])}
    counts = []
    for ids in new.tolist():
        end = next((place + 1 for place, token in enumerate(ids) if token in stops), len(ids))
        if len(new) > 1:  # a row that stopped for another reason (stop_strings) is padded without an end token
            while end == len(ids) and end > 1 and ids[end - 1] == pad and pad not in stops:
                ids.pop()
                end -= 1
        counts.append(end)
    return counts
