"""Projectors of vision features to the LLM's width."""

from .linear import LinearProjector
from .mlp import MLPProjector

__all__ = ['LinearProjector', 'MLPProjector']
