"""The data doctor: what is wrong with data, what a mixture gives, how it looks, and how to write it in the simple schema."""

from .check import Finding, check
from .convert import convert
from .preview import preview
from .stats import measure, plot

__all__ = ['Finding', 'check', 'convert', 'measure', 'plot', 'preview']
