"""Signals end a training after the next optimizer step, with a checkpoint and a known exit status."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import all_gather_object, get_world_size
from torch.utils.data import DataLoader

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
ONE_EVENT = 1.0  # seconds: launchers pass on a Ctrl-C that the terminal has sent to all


class StopRequest:
    """Whether the training is to stop: ``signum`` in this process, ``agreed`` in all.

    A signal may reach one process only. The processes agree where they exchange their losses anyway, once per optimizer step.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.agreed: int | None = None
        self._pid = os.getpid()
        self._last = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals instead of dying of them; signals that the parent process had ignored (nohup) stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield  # python allows handlers in the main thread only
            return
        self._pid = os.getpid()
        old = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in old.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def agree(self) -> int | None:
        """Have all processes know whether one of them received a signal; all must call it."""
        self.take([self.signum] if get_world_size() == 1 else all_gather_object(self.signum))
        return self.agreed

    def take(self, signals: list[int | None]) -> None:
        """The signals of all processes, by rank."""
        if self.agreed is None:
            self.agreed = next((number for number in signals if number is not None), None)

    def _receive(self, number: int, frame: object) -> None:
        if os.getpid() != self._pid:
            return  # a data worker: the parent process ends it
        now = time.monotonic()
        if self.signum is None:
            self.signum, self._last = number, now
            if os.environ.get('RANK', '0') == '0':
                # not print: the signal may have interrupted one
                os.write(2, f'\n{signal.Signals(number).name}: {_PROMISE}\n'.encode())
        elif number == signal.SIGINT and now - self._last > ONE_EVENT:
            raise KeyboardInterrupt


_PROMISE = (
    'the running optimizer step ends, a checkpoint is saved, and the training ends (a validation is broken off). Ctrl-C (again) '
    'ends it at once, without.'
)


class _BrokenOffError(Exception):
    pass


@contextmanager
def breaking_off(loop: Any, request: StopRequest) -> Iterator[None]:
    """Around a validation: a signal ends it after the running batch, without scores.

    The processes have no common point before the metrics, so there they agree: one that received no signal goes through its
    batches.

    Args:
        loop: The loop, with an ``evaluator``.
        request: Where signals arrive.
    """
    evaluator = loop.evaluator
    loop.evaluator = _Evaluator(evaluator, request)
    try:
        yield
    except _BrokenOffError:
        pass
    finally:
        loop.evaluator = evaluator


class _Evaluator:
    def __init__(self, evaluator: Any, request: StopRequest):
        self._evaluator, self._request = evaluator, request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluator, name)

    def process(self, *arguments: Any, **named: Any) -> None:
        if self._request.signum is not None:
            self._request.agree()
            raise _BrokenOffError
        self._evaluator.process(*arguments, **named)

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        if self._request.agree() is not None:
            raise _BrokenOffError
        return self._evaluator.evaluate(*arguments, **named)


def shield_workers(loader: DataLoader) -> None:
    """Keep a loader's workers alive when a signal goes to all processes of a job: the running step needs their batches."""
    loader.worker_init_fn = _Shielded(loader.worker_init_fn)


class _Shielded:
    def __init__(self, function: Callable[[int], None] | None):
        self.function = function

    def __call__(self, worker: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        # the loader ends a worker that does not end by itself with SIGTERM; so does torch's own handler, which this replaces
        threading.Thread(target=_end_for_parent, args=(os.getppid(),), name='SIGTERM of the parent', daemon=True).start()
        if self.function is not None:
            self.function(worker)


def _end_for_parent(parent: int) -> None:
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)
