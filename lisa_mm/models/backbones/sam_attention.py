"""The attention of SAM's image encoder, with torch's fused kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor


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
        bias = self._relative_positions(q, height, width) if self.use_rel_pos else None
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # scaled by C^-0.5 as in the release
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, dim))

    def _relative_positions(self, q: Tensor, height: int, width: int) -> Tensor:
        """The bias of a query at (y, x) for a key at (y', x'): one term per axis (Li et al., MViTv2). (B, heads, H W, H W)."""
        queries = q.unflatten(2, (height, width))  # (B, heads, H, W, C)
        rows = torch.einsum('bnhwc,hkc->bnhwk', queries, _by_distance(height, self.rel_pos_h))
        columns = torch.einsum('bnhwc,wkc->bnhwk', queries, _by_distance(width, self.rel_pos_w))
        return (rows[..., None] + columns[..., None, :]).flatten(4).flatten(2, 3)


def _by_distance(size: int, table: Tensor) -> Tensor:
    """The row of ``table`` for each query-key distance, (size, size, C); a table of another size is interpolated."""
    if len(table) != 2 * size - 1:
        return get_rel_pos(size, size, table)
    # the release builds the indices on the CPU, which costs a blocking copy to the device in every block
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + (size - 1)]
