"""A progress bar that shows the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar('T')
SECONDS_IN_A_FILE = 30.0


def progress(items: Iterable[T], desc: str, unit: str, *, total: int | None = None, smoothing: float = 0.3) -> Iterable[T]:
    """Yield the items with a bar on stderr; if that is a file (nohup, CI), write an occasional line instead of thousands.

    Args:
        items: The items to pass on.
        desc: Label before the bar.
        unit: Name of an item.
        total: Number of items, if ``items`` has no length.
        smoothing: Smoothing of the speed behind the time left: 0 averages over all items, 1 uses the last.
    """
    on_screen = sys.stderr.isatty()
    return tqdm(
        items,
        desc=desc,
        unit=unit,
        total=total,
        smoothing=smoothing,
        mininterval=0.1 if on_screen else SECONDS_IN_A_FILE,
        miniters=None if on_screen else 1,  # otherwise the pace of the first items decides how often the clock is read
    )
