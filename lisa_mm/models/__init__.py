"""The model and its parts."""

from . import backbones, language_models, losses, mask_decoders, mllms, projectors, seg_heads
from .lisa import LISA, model_class

__all__ = ['LISA', 'backbones', 'language_models', 'losses', 'mask_decoders', 'mllms', 'model_class', 'projectors', 'seg_heads']
