"""Segment Anything's two-way transformer and upscaling, with what prompts of an image share computed once.

The modules are the release's (``segment_anything.modeling``), and so are weights and results; the order of operations differs:

- The projections of the T image positions are moved to the few tokens: ``q (W x)`` is ``(q W) x``. With N tokens and H heads, the
  products over the positions are N H wide (48 as released) in place of half the width (128), and no keys, queries or values of
  positions are kept for backward.
- In the first layer all prompts see the same image: its positions are read from one tensor per image. From the second layer on,
  they differ per prompt.
- A transposed convolution of size 2 and stride 2 is a product per position. Pixels move to their places at the end, in the mask.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn


def run_two_way(transformer: Any, images: Tensor, position: Tensor, tokens: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Let the tokens of each prompt and the positions of its image attend to each other.

    Args:
        transformer: The release's ``TwoWayTransformer``.
        images: Image features (B, T, C).
        position: Position encoding of the features (T, C).
        tokens: Tokens (K, N, C); the prompts of an image are adjacent.
        counts: The number of prompts of each image, B numbers with the sum K > 0.

    Returns:
        States of the tokens (K, N, C) and features of the positions (K, T, C).
    """
    # Features of groups of prompts: (T, C) for the prompts of an image, after the first layer (K, T, C) for all
    features, sizes, queries = list(images.unbind()), counts, tokens
    for layer in transformer.layers:
        placed = [own + position for own in features]
        queries = _attend_to_tokens(layer, queries, tokens)
        read = _read(layer.cross_attn_token_to_image, queries + tokens, features, placed, sizes)
        queries = layer.norm2(queries + read)
        queries = layer.norm3(queries + layer.mlp(queries))
        written = _write(layer.cross_attn_image_to_token, placed, queries + tokens, queries, sizes)
        joined = [own + new for own, new in zip(features, written, strict=True)]
        features, sizes = [layer.norm4(torch.cat(joined) if len(joined) > 1 else joined[0])], [len(tokens)]
    placed = [own + position for own in features]
    read = _read(transformer.final_attn_token_to_image, queries + tokens, features, placed, sizes)
    return transformer.norm_final_attn(queries + read), features[0]


def masks_of(upscaling: Any, features: Tensor, weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """Masks from upscaled features, each with the weights of its prompt.

    Args:
        upscaling: The release's ``output_upscaling``: two transposed convolutions, each before a GELU.
        features: (K, T, C).
        weights: (K, C / 8).
        grid: Rows h and columns w of the T positions.

    Returns:
        Mask logits (K, 4 h, 4 w).
    """
    first, norm, activation, second, _ = upscaling
    fine = _doubled(first, features)  # (K, T, 2, 2, C / 4)
    fine = activation(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    finer = activation(_doubled(second, fine))  # (K, T, 2, 2, 2, 2, C / 8)
    masks = finer.flatten(1, -2) @ weights[..., None]  # (K, 16 T, 1)
    pixels = masks.view(len(masks), *grid, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)  # rows, then columns, coarse to fine
    return pixels.reshape(len(masks), 4 * grid[0], 4 * grid[1])


def _doubled(layer: Any, features: Tensor) -> Tensor:
    """The four pixels (..., 2, 2, D) that each position (..., C) becomes."""
    weight = layer.weight.permute(2, 3, 1, 0)  # (2, 2, D, C)
    return F.linear(features, weight.flatten(0, 2), layer.bias.repeat(4)).unflatten(-1, weight.shape[:3])


def _attend_to_tokens(layer: TwoWayAttentionBlock, queries: Tensor, tokens: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
    placed = queries + tokens
    return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))


def _read(attention: Attention, queries: Tensor, features: list[Tensor], placed: list[Tensor], sizes: list[int]) -> Tensor:
    """The attention of tokens (K, N, C) to positions, whose keys come from ``placed`` and whose values from ``features``."""
    heads = _by_head(attention, attention.q_proj(queries)) / math.sqrt(attention.internal_dim // attention.num_heads)
    weight, bias = _weights_by_head(attention, attention.k_proj)
    asked = (heads @ weight).flatten(1, 2).split(sizes)  # (k, H N, C)
    constant = (heads @ bias).flatten(1, 2).split(sizes)  # (k, H N, 1)
    read = [
        (of_group @ at.mT + same).softmax(-1) @ own
        for own, at, of_group, same in zip(features, placed, asked, constant, strict=True)
    ]
    weight, _ = _weights_by_head(attention, attention.v_proj)
    values = torch.cat(read).unflatten(1, heads.shape[1:3]) @ weight.mT  # (K, H, N, d)
    return attention.out_proj(values.transpose(1, 2).flatten(2) + attention.v_proj.bias)


def _write(attention: Attention, placed: list[Tensor], keys: Tensor, values: Tensor, sizes: list[int]) -> list[Tensor]:
    """The attention of positions to tokens: keys and values (K, N, C), for each group (k, T, C)."""
    heads = _by_head(attention, attention.k_proj(keys)) / math.sqrt(attention.internal_dim // attention.num_heads)
    weight, bias = _weights_by_head(attention, attention.q_proj)
    asked = (heads @ weight).flatten(1, 2).split(sizes)  # (k, H N, C)
    constant = (heads @ bias).flatten(1, 2).split(sizes)  # (k, H N, 1)
    weight = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1)).permute(1, 2, 0)  # (H, d, C)
    # a head's weights of a position have the sum 1, so that the heads' shares of the bias arrive as a whole
    answers = _by_head(attention, attention.v_proj(values)) @ weight + attention.out_proj.bias / attention.num_heads
    written = []
    for at, of_group, same, answer in zip(placed, asked, constant, answers.flatten(1, 2).split(sizes), strict=True):
        scores = (of_group @ at.mT + same).unflatten(1, heads.shape[1:3])  # (k, H, N, T)
        written.append(scores.softmax(2).flatten(1, 2).mT @ answer)
    return written


def _by_head(attention: Attention, projected: Tensor) -> Tensor:
    """(K, N, H d) -> (K, H, N, d)."""
    return projected.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _weights_by_head(attention: Attention, projection: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight (H, d, C) and bias (H, d, 1) of a projection to the heads."""
    heads = (attention.num_heads, -1)
    return projection.weight.unflatten(0, heads), projection.bias[:, None].unflatten(0, heads)
