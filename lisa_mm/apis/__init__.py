"""What the tools call, and the inferencer."""

from .inferencer import Answer, LISAInferencer

__all__ = ['Answer', 'LISAInferencer']
