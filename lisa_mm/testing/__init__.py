"""For plugin tests: checks that a part keeps its role's contract."""

from .check_part import check_part
from .steps import PartError

__all__ = ['PartError', 'check_part']
