"""A model with its queue: what the addresses of the server share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest

from ..apis.answers import Answer
from ..apis.inferencer import LISAInferencer
from ..apis.preparing import Prepared
from ..apis.requests import Request
from .batching import Batcher, Job
from .images import ImageReader
from .limits import GONE, Hold, Limits, Places, RequestError, closing, too_late
from .metrics import Metrics
from .replies import describe
from .schemas import MaskFormat

Value = TypeVar('Value')
PREPARING = 4  # threads that decode and resize images, and write masks


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Args:
        name: The model's name for clients.
        limits: What a request may cost.
        batch_size: Questions answered at once, at most.
        wait: Seconds that a question waits for others, at most.
        key: What clients must send as a bearer token; None lets everyone ask.
        allow_urls: Fetch images by their address.
        allow_private: Fetch them from private networks too.
    """

    name: str
    limits: Limits = field(default_factory=Limits)
    batch_size: int = 16
    wait: float = 0.01
    key: str | None = None
    allow_urls: bool = False
    allow_private: bool = False


class Service:
    """Loads a model in a thread, and answers questions with it.

    Args:
        load: Gives the inferencer.
        settings: How it is served.
    """

    def __init__(self, load: Callable[[], LISAInferencer], settings: Settings):
        self.settings = settings
        self.is_closing = False
        self.fault: Exception | None = None
        self.places = Places(settings.limits)
        self.metrics = Metrics(lambda: self._batcher.waiting if self._batcher else 0, lambda: self.places.taken)
        self._load = load
        self._inferencer: LISAInferencer | None = None
        self._batcher: Batcher | None = None
        self._reader = ImageReader(settings.limits)
        self._pool = ThreadPoolExecutor(PREPARING, thread_name_prefix='prepare')
        self._loader = threading.Thread(target=self._start, name='load', daemon=True)

    def start(self) -> None:
        """Begin to load the model."""
        self._loader.start()

    def _start(self) -> None:
        try:
            inferencer = self._load()
        except Exception as error:  # the server ends with it
            self.fault = error
            return
        self._inferencer = inferencer
        value_range = getattr(inferencer.load, 'value_range', None)
        settings = self.settings
        self._reader = ImageReader(settings.limits, value_range, settings.allow_urls, settings.allow_private)
        self._batcher = Batcher(
            inferencer.forward, size=settings.batch_size, wait=settings.wait, on_batch=self.metrics.batches.observe
        )

    @property
    def state(self) -> str:
        """'loading', 'ready', 'failed' or 'shutting down'."""
        if self.is_closing:
            return 'shutting down'
        if self.fault is not None:
            return 'failed'
        return 'loading' if self._batcher is None else 'ready'

    def check_ready(self) -> None:
        """Raise a RequestError (503) unless questions are taken."""
        if self.is_closing:
            raise closing()
        if self._batcher is None:
            raise RequestError(503, 'the model is loading. Ask again later.', 'loading', {'Retry-After': '5'})

    def stop_answering(self, seconds: float) -> None:
        """Refuse what waits, and end what is being answered; the waiting clients get an error."""
        self.is_closing = True
        if self._batcher is not None:
            self._batcher.close(seconds)

    def close(self) -> None:
        """End all threads that can be ended."""
        self.stop_answering(0)
        self._pool.shutdown(cancel_futures=True)

    @property
    def is_working(self) -> bool:
        """Whether the model is being loaded or asked."""
        return self._loader.is_alive() or (self._batcher is not None and self._batcher.is_alive)

    async def prepare(self, image: str | bytes, requests: Sequence[Request], held: Hold) -> list[Prepared]:
        """Read the image of questions once and check them, in a thread.

        Args:
            image: As the client sent it.
            requests: The questions; their image is not looked at.
            held: The places of the request.
        """
        return await self._in_thread(self._prepare, held, image, requests, held.left)

    def _prepare(self, image: str | bytes, requests: Sequence[Request], seconds: float) -> list[Prepared]:
        assert self._inferencer is not None
        preparer = self._inferencer.preparer
        seen = preparer.look_at(self._reader.read(image, seconds))
        found = [preparer.prepare(replace(request, image=seen.results['img']), seen) for request in requests]
        allowed = self.settings.limits.prompt_tokens
        for prepared in found:
            if len(prepared.ids) > allowed:
                raise RequestError(
                    400,
                    f'a question has {len(prepared.ids)} tokens with its image and history; at most {allowed} are read. '
                    'Shorten it, or leave out its earliest turns.',
                    'prompt_too_long',
                )
        return found

    async def answer(self, prepared: Sequence[Prepared], held: Hold, http: HttpRequest) -> list[Answer]:
        """Answer questions together with those of other clients.

        Raises:
            RequestError: 504 when the time is over, 503 when the server ends, and 499 when the client has gone.
        """
        jobs = [Job(one) for one in prepared]
        self._submit(jobs, held)
        answers = asyncio.ensure_future(_all(jobs))
        gone = asyncio.ensure_future(_gone(http))
        try:
            done, _ = await asyncio.wait({answers, gone}, timeout=held.left, return_when=asyncio.FIRST_COMPLETED)
            if answers in done:
                found = answers.result()
                self._count(prepared, found)
                return found
            if gone in done:
                raise RequestError(GONE, 'the client has gone.', 'gone')
            raise too_late(self.settings.limits.seconds)
        finally:
            answers.cancel()
            gone.cancel()

    async def stream(self, prepared: Prepared, held: Hold) -> AsyncIterator[str | Answer]:
        """Yield pieces of an answer's text, and last the answer.

        The answer ends at its next token when the request ends. Raises as :meth:`answer`.
        """
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[str | Future[Answer]] = asyncio.Queue()

        def hear(item: str | Future[Answer]) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, item)

        job = Job(prepared, hear)
        job.answer.add_done_callback(hear)
        self._submit([job], held)
        while True:
            try:
                item = await asyncio.wait_for(heard.get(), held.left)
            except asyncio.TimeoutError:
                raise too_late(self.settings.limits.seconds) from None
            if isinstance(item, Future):
                answer = item.result()
                self._count([prepared], [answer])
                yield answer
                return
            yield item

    async def describe(self, answers: Sequence[Answer], masks: MaskFormat, overlay: bool, held: Hold) -> list[dict[str, Any]]:
        """Write answers as JSON, in a thread; see :func:`.replies.describe`."""
        return await self._in_thread(lambda: [describe(answer, masks, overlay) for answer in answers], held)

    def _submit(self, jobs: Sequence[Job], held: Hold) -> None:
        assert self._batcher is not None
        held.at_end += [job.cancel for job in jobs]
        self._batcher.submit(jobs)

    async def _in_thread(self, do: Callable[..., Value], held: Hold, *given: object) -> Value:
        work: Awaitable[Value] = asyncio.get_running_loop().run_in_executor(self._pool, do, *given)
        try:
            return await asyncio.wait_for(work, held.left)
        except asyncio.TimeoutError:
            raise too_late(self.settings.limits.seconds) from None

    def _count(self, prepared: Sequence[Prepared], answers: Sequence[Answer]) -> None:
        self.metrics.tokens.labels('prompt').inc(sum(len(one.ids) for one in prepared))
        self.metrics.tokens.labels('answer').inc(sum(answer.new_tokens for answer in answers))


async def _all(jobs: Sequence[Job]) -> list[Answer]:
    return await asyncio.gather(*(asyncio.wrap_future(job.answer) for job in jobs))


async def _gone(http: HttpRequest) -> None:
    """Wait until the client hangs up; its whole request must have been read."""
    while (await http.receive())['type'] != 'http.disconnect':
        pass
