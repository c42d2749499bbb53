"""Data sets, transforms and collation."""

from . import transforms
from .base import BaseSegDataset
from .collate import seg_collate
from .jsonl_seg import JsonlSegDataset
from .reason_seg import ReasonSegDataset

__all__ = ['BaseSegDataset', 'JsonlSegDataset', 'ReasonSegDataset', 'seg_collate', 'transforms']
