"""A progress bar with the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar('T')
SECONDS_IN_A_FILE = 30.0


def progress(items: Iterable[T], desc: str, unit: str, *, total: int | None = None, smoothing: float = 0.3) -> Iterable[T]:
    """The items, with a bar on stderr; where that is a file (nohup, CI), a line now and then in place of thousands.

    Args:
        items: Passed on.
        desc: What is done, before the bar.
        unit: What an item is.
        total: Their number, if ``items`` has no length.
        smoothing: Of the speed that the time left follows: 0 the mean of all, 1 the last.
    """
    on_screen = sys.stderr.isatty()
    return tqdm(
        items,
        desc=desc,
        unit=unit,
        total=total,
        smoothing=smoothing,
        mininterval=0.1 if on_screen else SECONDS_IN_A_FILE,
        miniters=None if on_screen else 1,  # without it the pace of the first items decides how often the clock is read
    )
