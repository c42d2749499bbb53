"""Importing this package registers its parts, one per role."""

from .data import BoxDataset
from .language_model import RecurrentLM
from .loss import FocalMaskLoss
from .mask_decoder import ConvEncoder, DotProductDecoder
from .mllm import PooledLlava
from .projector import GatedProjector
from .seg_head import NormedSegHead
from .transform import GreyImage
from .vision_tower import PatchTower

__all__ = [
    'BoxDataset',
    'ConvEncoder',
    'DotProductDecoder',
    'FocalMaskLoss',
    'GatedProjector',
    'GreyImage',
    'NormedSegHead',
    'PatchTower',
    'PooledLlava',
    'RecurrentLM',
]
