"""What clients may ask of the server, and how a request is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

GONE = 499  # in logs and metrics; nobody is there to read an answer


class RequestError(Exception):
    """A request that is refused or could not be answered.

    Args:
        status: HTTP status.
        message: What was given, what is allowed and what to do.
        code: A word for programs.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, message: str, code: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON, in OpenAI's shape."""
        kind = 'invalid_request_error' if self.status < 500 else 'server_error'
        return {'error': {'message': self.message, 'type': kind, 'param': None, 'code': self.code}}


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Args:
        body_bytes: Bytes of a request, or of an image that is fetched.
        pixels: Pixels of an image.
        questions: Questions of a request.
        prompt_tokens: Tokens of a question with its image and its history.
        new_tokens: ``max_new_tokens`` of an answer.
        in_hand: Questions that were received and are not answered yet, of all clients.
        seconds: Time from a request's first byte to its last answer.
    """

    body_bytes: int = 20_000_000
    pixels: int = 40_000_000
    questions: int = 16
    prompt_tokens: int = 4096
    new_tokens: int = 512
    in_hand: int = 256
    seconds: float = 60.0


@dataclass
class Hold:
    """The places of one request.

    Args:
        places: Where they are taken.
        deadline: When the request must be answered, of ``time.monotonic``.
        count: How many it holds.
        at_end: What is called when they are given back, with an answer or without.
    """

    places: Places
    deadline: float
    count: int = 1
    at_end: list[Callable[[], object]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def need(self, count: int) -> None:
        """Hold this many places in all.

        Raises:
            RequestError: 429 if there are not as many.
        """
        self.places.take(count - self.count)
        self.count = count


@dataclass
class Places:
    """Counts the questions in hand; used by one thread.

    Args:
        limits: ``in_hand`` and ``seconds`` are read.
        taken: Places that are held.
    """

    limits: Limits
    taken: int = field(default=0, init=False)

    def take(self, count: int) -> None:
        """Take places, or raise a RequestError (429)."""
        if self.taken + count > self.limits.in_hand:
            raise RequestError(
                429,
                f'{self.taken} questions are in hand, and {count} more would exceed the limit of {self.limits.in_hand}. '
                'Ask again later.',
                'too_many_questions',
                {'Retry-After': '1'},
            )
        self.taken += count

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """The places of a request, one at first, until the end of the ``with``."""
        self.take(1)
        held = Hold(self, time.monotonic() + self.limits.seconds)
        try:
            yield held
        finally:
            self.taken -= held.count
            for call in held.at_end:
                call()


def too_late(seconds: float) -> RequestError:
    """The error of a request whose time is over."""
    return RequestError(
        504, f'the answer took longer than {seconds:g} seconds. Ask fewer questions, or ask again later.', 'timeout'
    )


def closing() -> RequestError:
    """The error while the server ends."""
    return RequestError(503, 'the server is shutting down. Ask again later.', 'shutting_down', {'Retry-After': '5'})
