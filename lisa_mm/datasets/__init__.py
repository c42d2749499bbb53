"""Data sets, transforms and collation."""

from . import transforms
from .base import BaseSegDataset
from .collate import seg_collate
from .grounded_caption import GroundedCaptionDataset
from .jsonl_seg import JsonlSegDataset
from .mixture import MixtureDataset
from .muse import MuseDataset
from .part_seg import PartSegDataset
from .reason_seg import ReasonSegDataset
from .reason_seg_parquet import ReasonSegParquetDataset
from .refer_seg import ReferSegDataset
from .sa2va import Sa2VADataset
from .sem_seg import SemSegDataset
from .vqa import VQADataset

__all__ = [
    'BaseSegDataset',
    'GroundedCaptionDataset',
    'JsonlSegDataset',
    'MixtureDataset',
    'MuseDataset',
    'PartSegDataset',
    'ReasonSegDataset',
    'ReasonSegParquetDataset',
    'ReferSegDataset',
    'Sa2VADataset',
    'SemSegDataset',
    'VQADataset',
    'seg_collate',
    'transforms',
]
