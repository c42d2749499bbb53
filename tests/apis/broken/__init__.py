"""Damage that users do to a config, by what it is done to."""

from __future__ import annotations

from . import files, model, training
from .damage import KINDS, Damage, damages

__all__ = ['KINDS', 'Damage', 'damages', 'files', 'model', 'training']
