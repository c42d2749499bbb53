"""The conversations of all visitors, in bounded memory."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something with a size."""

    @property
    def nbytes(self) -> int: ...


T = TypeVar('T', bound=Sized)


class Shelf(Generic[T]):
    """Keeps a thing for each visitor under a key that cannot be guessed.

    Args:
        max_bytes: Size of all things together. The ones that were used longest ago go first; the newest stays, whatever its
            size.
    """

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self._things: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def new_key() -> str:
        """A key of 128 random bits, for an address."""
        return secrets.token_urlsafe(16)

    def put(self, key: str, thing: T) -> None:
        """Keep a thing in place of an earlier one."""
        with self._lock:
            self._things[key] = thing
            self._things.move_to_end(key)
            while len(self._things) > 1 and self.nbytes > self.max_bytes:
                self._things.popitem(last=False)

    def get(self, key: str) -> T | None:
        """The thing, or None if it was never there or has been removed."""
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key]

    def remove(self, key: str) -> None:
        """Remove a thing, if it is there."""
        with self._lock:
            self._things.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Size of all things together."""
        return sum(thing.nbytes for thing in self._things.values())

    def __len__(self) -> int:
        return len(self._things)
