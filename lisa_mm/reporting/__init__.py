"""Results of evaluations as a page to look at and as tables, several models side by side."""

from .comparison import compare
from .report import write_report

__all__ = ['compare', 'write_report']
