"""Heads that turn ``[SEG]`` states into prompt embeddings."""

from .seg_token_head import SegTokenHead

__all__ = ['SegTokenHead']
