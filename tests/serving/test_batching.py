"""The queue: full batches, waits, failures and ends."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from lisa_mm.serving.batching import Batcher, Job
from lisa_mm.serving.limits import RequestError


class Model:
    """Answers each question with itself; waits until it may."""

    def __init__(self):
        self.batches: list[list[str]] = []
        self.begins = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, batch, /, *, listeners=None):
        self.batches.append(list(batch))
        self.begins.release()
        assert self.may_end.wait(30)
        if 'bad' in batch:
            raise ZeroDivisionError('of bad')
        if listeners is not None and listeners.text is not None:
            for number, question in enumerate(batch):
                listeners.text(number, question)
        return [SimpleNamespace(text=question) for question in batch]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    with_size = Batcher(model, size=3, wait=0.0)
    yield with_size
    model.may_end.set()
    with_size.close(30)


def jobs(*questions, **more):
    return [Job(question, **more) for question in questions]


def busy(batcher, model):
    """Let the model begin a batch that lasts."""
    model.may_end.clear()
    [first] = jobs('first')
    batcher.submit([first])
    assert model.begins.acquire(timeout=30)
    return first


def test_what_waits_becomes_batches_in_order(batcher, model):
    busy(batcher, model)
    waiting = jobs('a', 'b', 'c', 'd', 'e')
    for job in waiting:
        batcher.submit([job])
    assert batcher.waiting == 5
    model.may_end.set()
    assert [job.answer.result(30).text for job in waiting] == ['a', 'b', 'c', 'd', 'e']
    assert model.batches == [['first'], ['a', 'b', 'c'], ['d', 'e']]
    assert batcher.waiting == 0


def test_a_full_batch_waits_for_nobody_and_another_for_its_time(model):
    batcher = Batcher(model, size=2, wait=3600)
    pair = jobs('a', 'b')
    for job in pair:
        batcher.submit([job])
    assert [job.answer.result(30).text for job in pair] == ['a', 'b']
    assert model.batches == [['a', 'b']]
    batcher.close(30)
    batcher = Batcher(model, size=2, wait=0.2)
    [alone] = jobs('c')
    batcher.submit([alone])
    assert alone.answer.result(30).text == 'c'
    assert time.monotonic() - alone.arrived >= 0.2
    batcher.close(30)


def test_a_failure_is_that_of_its_question(batcher, model):
    busy(batcher, model)
    good, bad, other = jobs('good', 'bad', 'other')
    batcher.submit([good, bad, other])
    model.may_end.set()
    assert good.answer.result(30).text == 'good'
    assert other.answer.result(30).text == 'other'
    with pytest.raises(ZeroDivisionError):
        bad.answer.result(30)
    assert model.batches[1:] == [['good', 'bad', 'other'], ['good'], ['bad'], ['other']]


def test_a_question_that_nobody_waits_for_is_not_asked(batcher, model):
    busy(batcher, model)
    gone, here = jobs('gone', 'here')
    batcher.submit([gone, here])
    gone.cancel()
    model.may_end.set()
    assert here.answer.result(30).text == 'here'
    assert model.batches == [['first'], ['here']]


def test_text_goes_to_who_asked_for_it(batcher, model):
    busy(batcher, model)
    heard = []
    quiet, loud, gone = jobs('quiet', 'loud', 'gone')
    loud.on_text = gone.on_text = heard.append
    batcher.submit([quiet, loud, gone])
    assert batcher.waiting == 3
    gone.is_cancelled = True
    model.may_end.set()
    assert loud.answer.result(30).text == 'loud'
    assert quiet.answer.result(30).text == 'quiet'
    assert heard == ['loud']


def test_the_end_refuses_what_is_not_answered(batcher, model):
    first = busy(batcher, model)
    [waiting] = jobs('waiting')
    batcher.submit([waiting])
    batcher.close(0)
    with pytest.raises(RequestError, match='shutting down'):
        waiting.answer.result(30)
    assert first.is_cancelled
    model.may_end.set()
    with pytest.raises(RequestError, match='shutting down'):
        first.answer.result(30)
    with pytest.raises(RequestError, match='shutting down'):
        batcher.submit(jobs('late'))
    assert model.batches == [['first']]
