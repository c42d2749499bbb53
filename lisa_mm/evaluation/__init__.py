"""Metrics."""

from .rejection import RejectionMetric
from .seg_iou import SegIoUMetric

__all__ = ['RejectionMetric', 'SegIoUMetric']
