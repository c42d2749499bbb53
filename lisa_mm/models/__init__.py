"""The model and its parts."""

from . import backbones, language_models, losses, mask_decoders, mllms, projectors, seg_heads
from .lisa import LISA

__all__ = ['LISA', 'backbones', 'language_models', 'losses', 'mask_decoders', 'mllms', 'projectors', 'seg_heads']
