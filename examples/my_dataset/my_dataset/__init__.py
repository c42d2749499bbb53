"""Importing this package registers its four parts."""

from .data import BoxDataset
from .loss import FocalMaskLoss
from .projector import GatedProjector
from .transform import GreyImage

__all__ = ['BoxDataset', 'FocalMaskLoss', 'GatedProjector', 'GreyImage']
