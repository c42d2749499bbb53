"""Mask decoders."""

from .hf_mask_decoder import HFMaskDecoder
from .sam_mask_decoder import SAMMaskDecoder

__all__ = ['HFMaskDecoder', 'SAMMaskDecoder']
