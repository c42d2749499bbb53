"""Plain dict -> dict callables in mmcv's registry."""

from .conversation import EncodeConversations
from .images import DecodeMasks, LoadImage, ResizeForMaskDecoder, ResizeForVisionTower, image_loader
from .packing import PackSegInputs

__all__ = [
    'DecodeMasks',
    'EncodeConversations',
    'LoadImage',
    'PackSegInputs',
    'ResizeForMaskDecoder',
    'ResizeForVisionTower',
    'image_loader',
]
