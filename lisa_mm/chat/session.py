"""A conversation about an image, and its files."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..apis.answers import Answer
from ..apis.asking import check_folder, check_options, read_image
from ..apis.inferencer import LISAInferencer
from ..apis.saving import save_answer
from ..errors import UserError, nearest
from ..models.decoding import AnswerOptions

TRUE, FALSE = ('true', 'yes', 'on', '1'), ('false', 'no', 'off', '0')
CONVERSATION = 'conversation'


class ChatSession:
    """A model, an image, and the questions and answers so far.

    Args:
        inferencer: The model.
        out: Folder in which each session has a folder of its own, made with the first answer.
        options: How questions are answered.
    """

    def __init__(self, inferencer: LISAInferencer, out: str | Path = 'answers', *, options: AnswerOptions | None = None):
        self.inferencer = inferencer
        self.out = Path(out)
        self.options = options or AnswerOptions()
        self.image: np.ndarray | None = None
        self.name = ''
        self.answers: list[Answer] = []
        self._folder: Path | None = None

    @property
    def mask_tokens(self) -> tuple[str, ...]:
        """The tokens that become masks."""
        return self.inferencer.spec['mask_tokens']

    @property
    def masks(self) -> np.ndarray:
        """(K, H, W) bool, all masks so far; only with an image."""
        if self.answers:
            return self.answers[-1].masks
        assert self.image is not None
        return np.zeros((0, *self.image.shape[:2]), bool)

    def open(self, image: str) -> None:
        """Take another image; the conversation begins anew.

        Args:
            image: A file or an http(s) address.

        Raises:
            DataError: if it can't be read.
        """
        self.image = read_image(image, self.inferencer.load)['img']
        self.name = image
        self.answers.clear()

    def ask(self, question: str, *, raw: bool = False) -> Iterator[Any]:
        """Answer a question; the answer becomes part of the conversation when it is whole.

        Args:
            question: The question.
            raw: Ask it as it is.

        Yields:
            See :meth:`lisa_mm.apis.LISAInferencer.stream`.

        Raises:
            UserError: without an image, and for a question that can't be asked.
        """
        if self.image is None:
            raise UserError('there is no image yet: /image PATH')
        history = [answer.turn for answer in self.answers]
        options = dataclasses.asdict(self.options)
        for item in self.inferencer.stream(self.image, question, history=history, raw=raw, **options):
            if isinstance(item, Answer):
                item = dataclasses.replace(item, name=self.name, question=question)
                self.answers.append(item)
            yield item

    def undo(self) -> Answer:
        """Take back the last question with its answer.

        Raises:
            UserError: if there is none.
        """
        if not self.answers:
            raise UserError('there is no question to take back')
        return self.answers.pop()

    def set(self, text: str) -> None:
        """Change an option.

        Args:
            text: ``key=value``, a field of :class:`lisa_mm.models.decoding.AnswerOptions`.

        Raises:
            UserError: for another key, or a value that it does not take.
        """
        key, equals, value = (part.strip() for part in text.partition('='))
        known = dataclasses.asdict(self.options)
        if not equals or key not in known:
            raise UserError(f'{key!r} is no option.{nearest(key, known)} Give key=value, such as max_new_tokens=100.')
        options = dataclasses.replace(self.options, **{key: _parsed(key, value, known[key])})
        check_options(options)
        self.options = options

    def folder(self) -> Path:
        """The folder of this session; a new one when it is asked for first."""
        while self._folder is None:
            check_folder(self.out)
            folder = self.out / time.strftime('chat_%Y%m%d_%H%M%S')
            number = 1
            while folder.exists():
                number += 1
                folder = self.out / time.strftime(f'chat_%Y%m%d_%H%M%S_{number}')
            folder.mkdir(parents=True)
            self._folder = folder
        return self._folder

    def write(self, answer: Answer) -> list[Path]:
        """Write an answer's masks and overlay into the folder of this session."""
        return save_answer(answer, self.folder())

    def save(self, folder: str | Path | None = None) -> list[Path]:
        """Write the conversation as ``conversation.jsonl``, a line for each answer; into another folder with its pictures.

        Args:
            folder: By default that of this session, which has the pictures already.

        Raises:
            UserError: if there is nothing to save, or the folder can't be written.
        """
        if not self.answers:
            raise UserError('there is no answer to save yet')
        files: list[Path] = []
        place = self.folder() if folder is None else check_folder(folder)
        if folder is not None:
            files = [path for answer in self.answers for path in save_answer(answer, place)]
        number = 1
        while (path := place / f'{CONVERSATION}{"" if number == 1 else f"_{number}"}.jsonl').exists():
            number += 1
        with path.open('x', encoding='utf-8') as file:
            file.writelines(json.dumps(answer.to_dict()) + '\n' for answer in self.answers)
        return [*files, path]


def _parsed(key: str, value: str, before: object) -> object:
    """A value of the kind of the one before."""
    if isinstance(before, bool):
        if value.lower() not in (*TRUE, *FALSE):
            raise UserError(f'{key} is true or false, not {value!r}')
        return value.lower() in TRUE
    is_whole = isinstance(before, int)
    try:
        return int(value) if is_whole else float(value)
    except ValueError:
        raise UserError(f'{key} is a {"whole number" if is_whole else "number"}, not {value!r}') from None
