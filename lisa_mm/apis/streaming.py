"""An answer bit by bit, while a thread makes it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .answers import Answer
from .watching import Listeners


def follow(answer: Callable[[Listeners], Answer]) -> Iterator[Any]:
    """Yield what the listeners hear, then the answer.

    Args:
        answer: Makes the answer and calls the listeners. An error in it is raised here.
    """
    heard: queue.Queue[Any] = queue.Queue()
    closed = threading.Event()

    def run() -> None:
        try:
            heard.put(answer(listeners))
        except BaseException as error:  # passed on, not hidden
            heard.put(error)

    listeners = Listeners(
        text=lambda _, piece: heard.put(piece),
        mask=lambda _, index, logits: heard.put((index, logits)),
        is_cancelled=lambda _: closed.is_set(),
    )
    thread = threading.Thread(target=run, name='answer', daemon=True)
    thread.start()
    try:
        while True:
            item = heard.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Answer):
                return
    finally:
        closed.set()
        thread.join()
