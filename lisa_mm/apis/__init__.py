"""The functions behind the tools, and the inferencer."""

from .inferencer import Answer, LISAInferencer

__all__ = ['Answer', 'LISAInferencer']
