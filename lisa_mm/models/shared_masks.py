"""Which models of transformers run the rows of an image behind one prefix, and the masks that they need for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import PretrainedConfig, PreTrainedModel

from ..errors import ConfigError

# The families whose losses, states and gradients the tests compare with those of separate rows
TESTED = frozenset(
    {'llama', 'mistral', 'qwen2', 'qwen3', 'phi3', 'gemma2', 'gemma3_text', 'smollm3', 'olmo2'}
    | {'qwen2_vl_text', 'qwen2_5_vl_text', 'qwen3_vl_text'}
)
TESTED_WHOLE = frozenset(
    {'llava', 'llava_next', 'llava_onevision', 'qwen2_vl', 'qwen2_5_vl', 'qwen3_vl', 'internvl', 'gemma3', 'idefics3'}
)
FULL, SLIDING = 'full_attention', 'sliding_attention'
FLEX = 'flex_attention'
MASKED = ('sdpa', 'eager')  # the kinds of attention that add any mask to the products


def shares_prefix(asked: bool | None, model: PreTrainedModel, key: str, *, attention: tuple[str, ...] = MASKED) -> bool:
    """Whether the rows of an image go through a model as one sequence.

    Args:
        asked: The argument ``share_prefix``: True demands it, False refuses it, None means where a test covers the family.
        model: A language model of transformers, or a whole model of images and text.
        key: The config key of the argument, for the error.
        attention: The kinds of attention that get a mask of ours.

    Raises:
        ConfigError: if it is demanded of a model that cannot.
    """
    if asked is False:
        return False
    reason = sharing_obstacle(model, attention)
    if asked and reason:
        raise ConfigError(f'{key}=True does not go with a {model.config.model_type} {reason}, or leave it out.')
    return reason is None and (asked is True or model.config.get_text_config().model_type in TESTED)


def sharing_obstacle(model: PreTrainedModel, attention: tuple[str, ...] = MASKED) -> str | None:
    """What a model has that a mask and positions cannot express, with the remedy; None if nothing."""
    config = model.config.get_text_config()
    if config is not model.config and model.config.model_type not in TESTED_WHOLE:
        return f'as a whole model: only {", ".join(sorted(TESTED_WHOLE))} are tested. Take one of them'
    kinds = set(getattr(config, 'layer_types', None) or ())
    others = sorted(kinds - {FULL, SLIDING})
    if others or getattr(model, '_is_stateful', False):
        what = ', '.join(others) or 'states from token to token'
        return f'of {what}: a row would see the rows before it. Take a model of attention alone'
    if sliding_window(config) is not None and config.model_type not in TESTED:
        families = ', '.join(sorted(TESTED))
        return f'of {SLIDING}: windows are tested in {families}. Take one of them'
    if getattr(config, 'use_bidirectional_attention', None):
        return 'of bidirectional attention: its tokens see those after them. Take a causal model'
    if getattr(config, 'rope_parameters', None) is None:
        return 'without rotary positions. Take a model that has them'
    chosen = getattr(config, '_attn_implementation', None)
    if chosen not in (None, *attention):
        return f"under attention={chosen!r}, which takes no mask of ours. Take 'sdpa'"
    return None


def sliding_window(config: PretrainedConfig) -> int | None:
    """The window of a model's layers, in tokens; None if every layer sees the whole row."""
    kinds = getattr(config, 'layer_types', None)
    return None if kinds and SLIDING not in kinds else getattr(config, 'sliding_window', None)


def model_masks(config: PretrainedConfig, mask: Tensor, position: Tensor, dtype: torch.dtype) -> Any:
    """The mask in the form that a model takes.

    Args:
        config: The language model's architecture.
        mask: (G, 1, P, P) bool, which token sees which.
        position: (G, P) int64, the position of each token in its row.
        dtype: The dtype of the states.

    Returns:
        One mask, or one for each kind of layers by its name. A mask is (G, 1, P, P) to be added to the products; for
        FlexAttention a ``BlockMask``.
    """
    window = sliding_window(config)
    if window is None:
        return _form(config, mask, dtype)
    near = _form(config, mask & (position[:, None, :, None] - position[:, None, None, :] < window), dtype)
    if FULL in (getattr(config, 'layer_types', None) or ()):
        return {FULL: _form(config, mask, dtype), SLIDING: near}
    return near


def _form(config: PretrainedConfig, mask: Tensor, dtype: torch.dtype) -> Tensor | BlockMask:
    if config._attn_implementation != FLEX:
        return additive(mask, dtype)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return mask[batch, 0, query, key]

    count, _, queries, keys = mask.shape
    return create_block_mask(sees, count, None, queries, keys, device=str(mask.device))


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as numbers that any attention adds to the products, or passes on as they are."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def with_images(mask: Tensor, images: Tensor, segment: Tensor) -> Tensor:
    """A mask in which the tokens of an image see each other, also those after them (Gemma 3).

    Args:
        mask: (G, 1, P, P) bool.
        images: (G, P) int64, the number of the run of image tokens within its row; -1 for words.
        segment: (G, P) int64, see :class:`lisa_mm.models.shared_prefix.SharedRows`.
    """
    alike = (images[:, None, :] == images[:, :, None]) & (segment[:, None, :] == segment[:, :, None])
    return mask | (alike & (images >= 0)[:, None, :])[:, None]


def image_runs(places: Tensor) -> Tensor:
    """(R, L) bool, True for image tokens -> (R, L) int64, the number of each run of them in its row; -1 for words."""
    before = torch.nn.functional.pad(places, (1, 0))[:, :-1]
    return torch.where(places, (places & ~before).long().cumsum(1), -1)
