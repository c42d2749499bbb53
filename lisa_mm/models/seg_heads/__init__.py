"""``[SEG]`` states to prompt embeddings."""

from .seg_token_head import SegTokenHead

__all__ = ['SegTokenHead']
