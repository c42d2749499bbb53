"""Data sets, transforms and collation."""

from . import transforms
from .base import BaseSegDataset
from .collate import seg_collate
from .jsonl_seg import JsonlSegDataset
from .mixture import MixtureDataset
from .part_seg import PartSegDataset
from .reason_seg import ReasonSegDataset
from .reason_seg_parquet import ReasonSegParquetDataset
from .refer_seg import ReferSegDataset
from .sem_seg import SemSegDataset
from .vqa import VQADataset

__all__ = [
    'BaseSegDataset',
    'JsonlSegDataset',
    'MixtureDataset',
    'PartSegDataset',
    'ReasonSegDataset',
    'ReasonSegParquetDataset',
    'ReferSegDataset',
    'SemSegDataset',
    'VQADataset',
    'seg_collate',
    'transforms',
]
