"""Metrics."""

from .seg_iou import SegIoUMetric

__all__ = ['SegIoUMetric']
