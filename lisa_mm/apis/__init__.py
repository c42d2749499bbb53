"""The functions behind the tools, and the inferencer."""

from .answers import Answer
from .inferencer import LISAInferencer
from .requests import Request

__all__ = ['Answer', 'LISAInferencer', 'Request']
