"""Checkpoints: our own of training, published formats in and out.

``checkpoints.open(path)`` gives a :class:`.opening.TrainingCheckpoint` or an :class:`.opening.ExportedModel`, each with ``meta``,
``config`` and ``load_into(model)``.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # what reads checkpoints imports the models, which most users of this package's files need not
    if name == 'open':
        from .opening import open_checkpoint

        return open_checkpoint
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
