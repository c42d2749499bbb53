from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lisa_mm.apis.answers import Answer
from lisa_mm.demo.answering import BUG, Model, Wanted, answer, together
from lisa_mm.demo.talk import Exchange, Talk
from lisa_mm.errors import DataError

IMAGE = np.full((4, 6, 3), 90, np.uint8)
SPEC = {'mask_tokens': ('[SEG]',)}


def logits(*values: float) -> np.ndarray:
    return np.stack([np.full((4, 6), value, np.float32) for value in values]) if values else np.zeros((0, 4, 6), np.float32)


def model(*items: Any) -> tuple[Model, dict[str, Any]]:
    """A model that streams items, or raises one, and what it was asked with."""
    given: dict[str, Any] = {}

    def stream(image: np.ndarray, question: str, **how: Any) -> Iterator[Any]:
        given.update(how, image=image, question=question)
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return Model('m', SimpleNamespace(stream=stream, spec=SPEC)), given


def whole(text: str, *values: float, earlier: int = 0, **how: Any) -> Answer:
    found = logits(*values)
    return Answer(text, found > 0, found, np.arange(len(found), dtype=np.float32), asked='Asked?', earlier=earlier, **how)


def test_words_and_masks_come_as_they_are_said() -> None:
    one, given = model('A ', '[SEG]', (0, torch.ones(4, 6)), ' and [SEG]', whole('A [SEG] and [SEG]', 1, 2))
    talks = list(answer(one, Wanted(IMAGE, 'mine', 'cups', force_seg=True), Talk(), 9))
    assert [talk.is_busy for talk in talks] == [True] * 5 + [False]
    assert [len(talk.layers) for talk in talks] == [0, 0, 0, 1, 1, 2]
    assert talks[2].exchanges[0].pieces == (('A ', None), ('[SEG]', 0))
    assert talks[4].exchanges[0].pieces == (('A ', None), ('[SEG]', 0), (' and ', None), ('[SEG]', 1))
    assert talks[3].layers[0] == talks[5].layers[0]
    last = talks[-1]
    assert last.exchanges == (Exchange('cups', talks[4].exchanges[0].pieces, 'Asked?', 'A [SEG] and [SEG]'),)
    assert last.logits is not None and last.seg_logits is not None
    np.testing.assert_array_equal(last.logits, logits(1, 2))
    assert given == dict(given, question='cups', history=(), raw=False, force_seg=True, max_new_tokens=9)


@pytest.mark.parametrize('is_follow_up', [False, True])
def test_masks_of_earlier_answers_stay_as_they_were_seen(is_follow_up: bool) -> None:
    (*_, first) = answer(model(whole('[SEG]', 1))[0], Wanted(IMAGE, 'mine', 'a'), Talk(), 9)
    # a follow-up's answer has the earlier masks again, and they may differ a little
    further = whole('B [SEG]', 1.5, 2, earlier=1) if is_follow_up else whole('B [SEG]', 2)
    one, given = model('B [SEG]', further)
    (*_, growing, second) = answer(one, Wanted(IMAGE, 'mine', 'b', is_follow_up=is_follow_up), first, 9)
    assert given['history'] == ([('Asked?', '[SEG]')] if is_follow_up else ())
    assert growing.exchanges[1].pieces == second.exchanges[1].pieces == (('B ', None), ('[SEG]', 1))
    assert second.logits is not None and second.seg_logits is not None
    np.testing.assert_array_equal(second.logits, logits(1, 2))
    np.testing.assert_array_equal(second.seg_logits, [0, 1 if is_follow_up else 0])
    assert second.layers[0] == first.layers[0]
    assert [layer.label for layer in second.layers] == ['a', 'b']


def test_an_answer_says_what_is_missing() -> None:
    (*_, talk) = answer(model(whole('Yes.', cut=True))[0], Wanted(IMAGE, 'mine', 'a'), Talk(), 9)
    assert 'so no mask' in talk.exchanges[0].note
    assert 'cut off at 9 tokens' in talk.exchanges[0].note
    assert talk.layers == ()


def test_a_fault_leaves_the_earlier_conversation(caplog: pytest.LogCaptureFixture) -> None:
    (*_, first) = answer(model(whole('[SEG]', 1))[0], Wanted(IMAGE, 'mine', 'a'), Talk(), 9)
    (*_, refused) = answer(model('A', DataError('the question is bad.'))[0], Wanted(IMAGE, 'mine', 'b'), first, 9)
    assert (refused.error, refused.exchanges, refused.is_busy) == ('The question is bad.', first.exchanges, False)
    assert not caplog.records
    (*_, failed) = answer(model('A', RuntimeError('secret'))[0], Wanted(IMAGE, 'mine', 'b'), refused, 9)
    assert (failed.error, failed.exchanges) == (BUG, first.exchanges)
    assert 'secret' in caplog.text
    (*_, fine) = answer(model(whole('[SEG]', 2))[0], Wanted(IMAGE, 'mine', 'b'), failed, 9)
    assert fine.error == ''


def test_streams_run_together() -> None:
    meet = threading.Barrier(2, timeout=10)

    def stream(name: str) -> Iterator[str]:
        for step in range(3):
            meet.wait()  # each waits for the other, so one after the other would never end
            yield f'{name}{step}'

    found = list(together([stream('a'), stream('b')]))
    assert sorted(found) == [(0, 'a0'), (0, 'a1'), (0, 'a2'), (1, 'b0'), (1, 'b1'), (1, 'b2')]
    assert list(together([])) == []


def test_closing_closes_each_stream() -> None:
    closed = []

    def stream(name: str) -> Iterator[str]:
        try:
            while True:
                yield name
        finally:
            closed.append(name)

    streams = together([stream('a'), stream('b')])
    next(streams)
    streams.close()
    assert sorted(closed) == ['a', 'b']


def test_an_error_in_a_stream_is_raised() -> None:
    def stream() -> Iterator[str]:
        yield 'a'
        raise KeyError('b')

    streams = together([stream()])
    assert next(streams) == (0, 'a')
    with pytest.raises(KeyError):
        next(streams)
