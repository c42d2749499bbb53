"""The data doctor: finds faults in data, measures and shows a mixture, and converts to the simple schema."""

from .check import Finding, check
from .convert import convert
from .importing import import_annotations
from .preview import preview
from .stats import measure, plot

__all__ = ['Finding', 'check', 'convert', 'import_annotations', 'measure', 'plot', 'preview']
