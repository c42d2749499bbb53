"""The miniature data root of every format, copied to be damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

GOLDEN = Path(os.environ.get('LISA_MM_GOLDEN', Path(__file__).parents[1] / 'golden')) / 'dataset'


def copy_root(target: Path) -> Path:
    """A writable copy."""
    shutil.copytree(GOLDEN, target)
    return target
