"""For tests of plugins: whether a part keeps its role's contract."""

from .check_part import PartError, check_part

__all__ = ['PartError', 'check_part']
