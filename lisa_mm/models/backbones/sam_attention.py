"""The attention of SAM's image encoder, with torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor

CACHED_BYTES = 16 << 20  # of the bias: what a CPU's cache holds. One image of 64 x 64 patches and 6 heads would have 400 MB
LONGEST_PRODUCT = 48  # height + width in patches up to which a product spreads the bias faster than a sum of two tensors


class FusedAttention(Attention):
    """The release's attention under the same weight names; without gradients, the fused kernel replaces three large products.

    With gradients the release's steps run: the relative positions need a gradient, which the CPU's fused kernel does not give.

    Args:
        dim, num_heads, qkv_bias, use_rel_pos, rel_pos_zero_init, input_size: As ``segment_anything``'s ``Attention``.

    Shapes:
        (B, H, W, dim) -> (B, H, W, dim)
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.qkv.parameters())):
            return super().forward(x)
        batch, height, width, dim = x.shape
        shape = (batch, height * width, 3, self.num_heads, dim // self.num_heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)  # 3 x (B, heads, H W, C)
        if self.use_rel_pos:
            attended = self._attend(q, k, v, height, width)
        else:
            attended = F.scaled_dot_product_attention(q, k, v)  # scaled by C^-0.5 as in the release
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, dim))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> Tensor:
        """Attention with the bias of relative positions, piece by piece. 3 x (B, heads, H W, C) -> (B, heads, H W, C)."""
        by_row, by_column = _by_distance(height, self.rel_pos_h), _by_distance(width, self.rel_pos_w)
        queries = q.unflatten(2, (height, width))
        parts = []
        for images, heads, rows in _pieces(q, height, width):
            part = queries[images, heads, rows]  # (b, n, h, W, C)
            # The bias of a query at (y, x) for a key at (y', x') has one term per axis (Li et al., MViTv2)
            of_rows = torch.einsum('bnhwc,hkc->bnhwk', part, by_row[rows])
            of_columns = torch.einsum('bnhwc,wkc->bnhwk', part, by_column)
            bias = _spread(of_rows.flatten(2, 3), of_columns.flatten(2, 3))
            here = images, heads
            attended = F.scaled_dot_product_attention(part.flatten(2, 3), k[here], v[here], attn_mask=bias)
            parts.append(attended.flatten(0, 2))
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).view(q.shape)


def _pieces(q: Tensor, height: int, width: int) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of images, of heads and of rows of queries, in order: on a CPU so many that their bias stays in its cache."""
    images, heads, tokens, _ = q.shape
    of_row = width * tokens * q.element_size()  # bytes of the bias of one row of queries of one head
    rows_at_once = max(1, CACHED_BYTES // of_row) if q.device.type == 'cpu' else images * heads * height
    heads_at_once = max(1, rows_at_once // height)
    images_at_once = max(1, heads_at_once // heads)
    for image in range(0, images, images_at_once):
        for head in range(0, heads, heads_at_once):
            for row in range(0, height, rows_at_once):
                yield slice(image, image + images_at_once), slice(head, head + heads_at_once), slice(row, row + rows_at_once)


def _spread(of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """Terms of the keys' rows (..., H) and columns (..., W) -> their sums for all keys (..., H W), exact."""
    height, width = of_rows.shape[-1], of_columns.shape[-1]
    if height + width > LONGEST_PRODUCT:
        return (of_rows[..., :, None] + of_columns[..., None, :]).flatten(-2)
    # a product with ones and zeros is as exact, and for few rows and columns faster than adding two broadcast tensors
    terms = torch.cat([of_rows, of_columns], dim=-1)
    return terms @ _places(height, width, terms)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """One in the row of each key's y and in the row of its x (after the ``height`` rows of y), (height + width, H W)."""
    ys = torch.eye(height, dtype=like.dtype, device=like.device).repeat_interleave(width, dim=1)
    xs = torch.eye(width, dtype=like.dtype, device=like.device).repeat(1, height)
    return torch.cat([ys, xs])


def _by_distance(size: int, table: Tensor) -> Tensor:
    """The row of ``table`` for each query-key distance, (size, size, C); a table of another size is interpolated."""
    if len(table) != 2 * size - 1:
        return get_rel_pos(size, size, table)
    # the release builds the indices on the CPU, which costs a blocking copy to the device in every block
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + (size - 1)]
