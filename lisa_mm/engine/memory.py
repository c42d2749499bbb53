"""How the C library handles freed memory when a model runs on a CPU."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MAPPED = 2**25
"""Bytes from which a block is a mapping of its own: the most that glibc allows."""
_KEPT = 2**28
"""Free bytes at the end of the heap that are kept; more of them go back to the kernel."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of up to 32 MiB for the next allocation, at most 256 MiB at the end of the heap.

    By default, it returns what exceeds twice the largest block, and the kernel must zero the pages again for the next step: a
    step of the sizes ``mid`` (docs/speed.md) takes 3 % longer. Larger blocks are returned at once. In the heap they would leave
    holes in which a small block settles, so that a heap with DeepSpeed's bucket of 2 GB grew by its size again and again, until
    the kernel refused to start data workers.

    Returns:
        Whether the C library accepted the settings (Linux with glibc).
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    settings = ((_M_MMAP_THRESHOLD, _MAPPED), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, 2**24))
    taken = [mallopt(name, value) == 1 for name, value in settings]  # each is tried, even if an earlier one fails
    return all(taken)
