"""Questions of many clients, answered in batches by one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from ..apis.answers import Answer
from ..apis.preparing import Prepared
from ..apis.watching import Listeners
from .limits import closing

logger = logging.getLogger('lisa_mm.serving')


class Forward(Protocol):
    """:meth:`lisa_mm.apis.inferencer.LISAInferencer.forward`."""

    def __call__(self, batch: Sequence[Prepared], /, *, listeners: Listeners | None = None) -> list[Answer]: ...


@dataclass(eq=False)
class Job:
    """A question in the queue.

    Args:
        prepared: The question.
        on_text: Called with each piece of the answer's text, in the model's thread.
        arrived: When it came, of ``time.monotonic``.
        answer: The answer to come.
        is_cancelled: Whether nobody waits for it any more.
        has_spoken: Whether a piece of text was sent.
    """

    prepared: Prepared
    on_text: Callable[[str], object] | None = None
    arrived: float = field(default_factory=time.monotonic)
    answer: Future[Answer] = field(default_factory=Future)
    is_cancelled: bool = False
    has_spoken: bool = False

    def cancel(self) -> None:
        """Give the answer up: it leaves the queue, or ends at its next token."""
        self.is_cancelled = True
        self.answer.cancel()

    def say(self, piece: str) -> None:
        """Pass a piece of text on."""
        if self.on_text is not None and not self.is_cancelled:
            self.has_spoken = True
            self.on_text(piece)


class Batcher:
    """Fills batches from a queue and answers them in a thread of its own.

    A batch starts when it is full, or when its first question has waited long enough; so a question that comes while the model
    is busy waits for the end of that batch only.

    Args:
        forward: Answers a batch.
        size: Questions of a batch, at most.
        wait: Seconds that the first question waits for others, at most.
        on_batch: Called before each batch with its number of questions.
    """

    def __init__(self, forward: Forward, *, size: int = 16, wait: float = 0.01, on_batch: Callable[[int], object] | None = None):
        self._ask, self.size, self.wait = forward, size, wait
        self.on_batch = on_batch
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='model', daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions in the queue."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put questions into the queue, side by side."""
        with self._changed:
            if self._closed:
                raise closing()
            self._waiting.extend(jobs)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """End the thread: what waits is refused, what is being answered ends at its next token and is refused too.

        Args:
            seconds: Time for that token.
        """
        with self._changed:
            self._closed = True
            for job in self._waiting:
                if job.answer.set_running_or_notify_cancel():
                    job.answer.set_exception(closing())
            self._waiting.clear()
            for job in self._running:
                job.is_cancelled = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while batch := self._next():
            if self.on_batch is not None:
                self.on_batch(len(batch))
            self._answer(batch)

    def _next(self) -> list[Job]:
        """Wait for the next batch; an empty one is the end."""
        with self._changed:
            while not self._closed:
                wanted = [job for job in self._waiting if not job.is_cancelled]
                self._waiting = deque(wanted)
                left = wanted[0].arrived + self.wait - time.monotonic() if wanted else None
                if left is not None and (left <= 0 or len(wanted) >= self.size):
                    taken = [self._waiting.popleft() for _ in wanted[: self.size]]
                    self._running = [job for job in taken if job.answer.set_running_or_notify_cancel()]
                    if self._running:
                        return self._running
                    continue
                self._changed.wait(left)
            return []

    def _answer(self, batch: list[Job]) -> None:
        speaking = any(job.on_text for job in batch)
        listeners = Listeners(
            text=(lambda number, piece: batch[number].say(piece)) if speaking else None,
            is_cancelled=lambda number: batch[number].is_cancelled,
        )
        try:
            answers = self._ask([job.prepared for job in batch], listeners=listeners)
        except Exception as error:  # one question must not take the others or the thread with it
            self._fail(batch, error)
            return
        for job, answer in zip(batch, answers, strict=True):
            if job.is_cancelled:
                job.answer.set_exception(closing())
            else:
                job.answer.set_result(answer)

    def _fail(self, batch: list[Job], error: Exception) -> None:
        """Answer the questions of a failed batch one by one, so that only the cause of the failure fails."""
        if len(batch) > 1:
            logger.warning(
                'a batch of %d questions failed (%s: %s); they are asked alone', len(batch), type(error).__name__, error
            )
        for job in batch:
            if len(batch) == 1 or job.has_spoken:  # what was said cannot be taken back
                job.answer.set_exception(error)
            else:
                self._answer([job])
