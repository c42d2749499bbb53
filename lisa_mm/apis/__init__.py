"""The functions behind the tools, and the inferencer."""

from .answers import Answer
from .inferencer import LISAInferencer
from .requests import Request
from .shipped import example_image

__all__ = ['Answer', 'LISAInferencer', 'Request', 'example_image']
