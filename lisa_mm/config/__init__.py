"""Reading configs (``load``, a layer below the models) and compiling them (``compile``, above everything it builds).

Names are imported lazily, so that reading a config does not load what compiling it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compile import DATALOADERS, compile_config, compile_with_model, datasets_in, derived_values, with_weights
    from .load import load_config

_FROM = {
    'load_config': 'load',
    **dict.fromkeys(
        ('DATALOADERS', 'compile_config', 'compile_with_model', 'datasets_in', 'derived_values', 'with_weights'), 'compile'
    ),
}

__all__ = [
    'DATALOADERS',
    'compile_config',
    'compile_with_model',
    'datasets_in',
    'derived_values',
    'load_config',
    'with_weights',
]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_FROM[name]}', __name__), name)
