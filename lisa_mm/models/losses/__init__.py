"""Cross entropy over the answer, BCE and Dice over masks."""

from .cross_entropy import CrossEntropyLoss
from .dice import MaskDiceLoss
from .mask_bce import MaskBCELoss
from .mask_loss import MaskLoss

__all__ = ['CrossEntropyLoss', 'MaskBCELoss', 'MaskDiceLoss', 'MaskLoss']
