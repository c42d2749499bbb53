"""Answers for the page, bit by bit, from several models at once."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ..apis.answers import Answer
from ..apis.inferencer import LISAInferencer
from ..errors import UserError
from .layers import mask_layers, picture_of
from .talk import Exchange, Talk

log = logging.getLogger(__name__)
BUG = 'This should not have happened: a fault of the server, which has written it to its log. Other questions may work.'
CUT = 'The answer was cut off at {} tokens, the most that this server gives.'
T = TypeVar('T')


@dataclass(frozen=True)
class Model:
    """A model of the page, with its name."""

    name: str
    inferencer: LISAInferencer


@dataclass(frozen=True)
class Wanted:
    """A visitor's question.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: The image's name.
        question: The question.
        raw: Ask exactly this.
        force_seg: The answer must hold a mask.
        is_follow_up: The model reads the earlier questions and answers too.
    """

    image: np.ndarray
    name: str
    question: str
    raw: bool = False
    force_seg: bool = False
    is_follow_up: bool = False


def answer(model: Model, wanted: Wanted, talk: Talk, max_new_tokens: int) -> Iterator[Talk]:
    """Yield the conversation while the answer to a further question grows; the last one is whole.

    A fault of the visitor's, or of the server, ends in the earlier conversation with an ``error``.
    """
    try:
        yield from _answer(model, wanted, talk, max_new_tokens)
    except UserError as error:
        yield replace(talk, error=sentence(error), is_busy=False)
    except Exception:  # the visitor gets a sentence, the owner of the server the traceback
        log.exception('%s failed to answer %r', model.name, wanted.question)
        yield replace(talk, error=BUG, is_busy=False)


def _answer(model: Model, wanted: Wanted, talk: Talk, max_new_tokens: int) -> Iterator[Talk]:
    inferencer, exchange = model.inferencer, Exchange(wanted.question)
    earlier = len(talk.layers)
    labels = [layer.label for layer in talk.layers]
    logits: list[np.ndarray] = [] if talk.logits is None else list(talk.logits)
    growing = replace(talk, picture=talk.picture or picture_of(wanted.image), error='', is_busy=True)
    yield replace(growing, exchanges=(*talk.exchanges, exchange))

    stream = inferencer.stream(
        wanted.image,
        wanted.question,
        history=talk.history if wanted.is_follow_up else (),
        raw=wanted.raw,
        force_seg=wanted.force_seg,
        max_new_tokens=max_new_tokens,
    )
    text = ''
    for item in stream:
        if isinstance(item, Answer):
            yield _joined(talk, growing.picture, wanted, item, CUT.format(max_new_tokens) if item.cut else '')
            return
        if isinstance(item, str):
            text += item
            exchange = replace(exchange, pieces=pieces_of(text, earlier, inferencer))
        else:
            logits.append(item[1].float().cpu().numpy())
            labels.append(wanted.question)
            growing = replace(growing, layers=mask_layers(wanted.image, np.stack(logits), labels))
        yield replace(growing, exchanges=(*talk.exchanges, exchange))


def _joined(talk: Talk, picture: str, wanted: Wanted, answer: Answer, cut: str) -> Talk:
    """The conversation with an answer; its earlier masks stay as they were seen."""
    own, before = answer.mask_logits[answer.earlier :], len(talk.layers)
    # the logits of mask tokens include those of earlier turns, as the masks do
    own_seg = answer.seg_logits[answer.earlier :]
    pieces = tuple((text, None if k is None else k - answer.earlier + before) for text, k in answer.pieces)
    note = ' '.join(filter(None, [answer.hint, cut]))
    logits = own if talk.logits is None else np.concatenate([talk.logits, own])
    labels = [layer.label for layer in talk.layers] + [wanted.question] * len(own)
    return Talk(
        exchanges=(*talk.exchanges, Exchange(wanted.question, pieces, answer.asked, answer.text, note)),
        name=wanted.name,
        image=wanted.image,
        picture=picture,
        logits=logits,
        seg_logits=own_seg if talk.seg_logits is None else np.concatenate([talk.seg_logits, own_seg]),
        layers=mask_layers(wanted.image, logits, labels),
    )


def sentence(error: UserError) -> str:
    """The error message, with a capital letter at its start, as the page shows it."""
    text = str(error)
    return text[:1].upper() + text[1:]


def pieces_of(text: str, earlier: int, inferencer: LISAInferencer) -> tuple[tuple[str, int | None], ...]:
    """The text of an unfinished answer in pieces, its first mask token with the index ``earlier``."""
    nothing = np.zeros((0, 1, 1))
    part = Answer(text, nothing > 0, nothing, earlier=earlier, mask_tokens=tuple(inferencer.spec['mask_tokens']))
    return tuple(part.pieces)


def together(streams: Sequence[Iterator[T]]) -> Generator[tuple[int, T], None, None]:
    """Yield (number of the stream, item) as the items of several streams come, each made by a thread of its own.

    Closing this generator closes each stream after its current item.
    """
    items: queue.Queue[tuple[int, T] | BaseException | None] = queue.Queue()
    closed = threading.Event()

    def run(number: int, stream: Iterator[T]) -> None:
        try:
            for item in stream:
                if closed.is_set():
                    break
                items.put((number, item))
        except BaseException as error:  # raised where the items are read
            items.put(error)
        finally:
            if isinstance(stream, Generator):
                stream.close()
            items.put(None)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(streams)]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            item = items.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        closed.set()
        for thread in threads:
            thread.join()
