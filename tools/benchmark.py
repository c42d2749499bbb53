"""Measure speed and memory."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == '__main__':
    # benchmarks/ is not installed; it measures the lisa_mm beside it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.commands import main
    from lisa_mm.command import run_command

    run_command(partial(main, __doc__))
