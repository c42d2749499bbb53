"""Pages for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar('T')


def in_loop(make: Callable[[], T]) -> T:
    """Call a function while an event loop runs; where none runs, Gradio makes some, and closes none."""

    async def call() -> T:
        return make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    return make()  # Playwright has one
