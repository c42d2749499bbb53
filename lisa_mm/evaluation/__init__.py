"""Metrics."""

from .false_premise import FalsePremiseMetric
from .generalized_refer import GeneralizedReferMetric
from .grounded_caption import GroundedCaptionMetric
from .multi_target import MultiTargetMetric
from .refer_iou import ReferIoUMetric
from .robust_refer import RobustReferMetric
from .seg_iou import SegIoUMetric
from .text_similarity import EncoderSimilarity, TokenF1

__all__ = [
    'EncoderSimilarity',
    'FalsePremiseMetric',
    'GeneralizedReferMetric',
    'GroundedCaptionMetric',
    'MultiTargetMetric',
    'ReferIoUMetric',
    'RobustReferMetric',
    'SegIoUMetric',
    'TokenF1',
]
