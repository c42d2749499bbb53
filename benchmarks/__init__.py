"""Measures speed and memory. Not part of the installed package: tools/benchmark.py and benchmarks/gpu/run.py start it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def checkout_environment(**more: str) -> dict[str, str]:
    """The environment for a process, started anywhere, that imports this folder and the lisa_mm beside it.

    Args:
        more: Further variables.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), **more}
