"""Reads questions and commands, and prints answers."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..apis.answers import Answer
from ..apis.fetching import is_address
from ..errors import DataError, UserError, nearest
from .completion import completions
from .pictures import Draw
from .session import ChatSession
from .streaming import AnswerPrinter, chip, printable

COMMANDS = {
    '/image': ('PATH', 'another image, a file or an http(s) address; the conversation begins anew'),
    '/raw': ('QUESTION', "ask exactly this; otherwise questions are put into the words of the model's training"),
    '/undo': ('', 'take back the last question and its answer'),
    '/reset': ('', 'forget the conversation, keep the image'),
    '/set': ('KEY=VALUE', 'change how questions are answered; alone: show it'),
    '/save': ('[FOLDER]', 'write the conversation, with pictures if a folder is given'),
    '/help': ('', 'this list'),
    '/quit': ('', 'leave, as Ctrl-D does'),
}
GREETING = 'Ask about the image; /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.'


class Repl:
    """A conversation, line by line.

    Args:
        session: The model and its conversation.
        console: Where answers are printed.
        errors: Where faults are printed.
        draw: How the terminal shows pictures; None leaves them out. See :func:`.pictures.picture_drawer`.
        is_script: Lines come from a pipe: there is no prompt, and Ctrl-C ends it.

    Attributes:
        faults: Number of lines that could not be answered.
    """

    def __init__(
        self, session: ChatSession, console: Console, errors: Console, *, draw: Draw | None = None, is_script: bool = False
    ):
        self.session, self.console, self.errors = session, console, errors
        self.draw, self.is_script = draw, is_script
        self.faults = 0
        self._does: dict[str, Callable[[str], object]] = {
            '/image': self._image,
            '/raw': lambda text: self._ask(text, raw=True),
            '/undo': lambda _: self._say(f'taken back: {self.session.undo().question}'),
            '/reset': self._reset,
            '/set': self._set,
            '/save': self._save,
            '/help': self._help,
        }

    @property
    def prompt(self) -> str:
        """The image and its size in pixels, width first."""
        image = self.session.image
        if image is None:
            return 'no image> '
        name = self.session.name.rstrip('/').rpartition('/')[2]
        return f'{printable(name)} {image.shape[1]}x{image.shape[0]}> '

    def complete(self, line: str) -> list[str]:
        """Whole lines that begin with this one."""
        return completions(line, list(COMMANDS), list(dataclasses.asdict(self.session.options)))

    def run(self, read: Callable[[str], str]) -> None:
        """Read lines until they end.

        Args:
            read: Gives the next line for a prompt; raises EOFError at the end.
        """
        if not self.is_script:
            self._say(GREETING)
        while True:
            try:
                line = read('' if self.is_script else self.prompt)
            except EOFError:
                if not self.is_script:
                    self.console.print()
                return
            except KeyboardInterrupt:
                if self.is_script:
                    raise
                self._say('\n(Ctrl-D leaves)')
                continue
            if not self.handle(line):
                return

    def handle(self, line: str) -> bool:
        """Do what a line says; False if that is to leave."""
        line = line.strip()
        command, _, rest = line.partition(' ')
        if command == '/quit':
            return False
        try:
            if not line.startswith('/'):
                if line:
                    self._ask(line)
            elif command not in self._does:
                raise UserError(f'{command} is no command.{nearest(command, COMMANDS)}')
            else:
                self._does[command](rest.strip())
        except KeyboardInterrupt:
            if self.is_script:
                raise
            self._say('\n(stopped; the question is not part of the conversation)')
        except (UserError, OSError) as error:
            self.faults += 1
            self.errors.print(Text(printable(' '.join(str(error).split())), 'red'), soft_wrap=True)
        return True

    def _ask(self, question: str, *, raw: bool = False) -> None:
        session = self.session
        if session.image is None:
            raise UserError('there is no image yet: /image PATH')
        printer = AnswerPrinter(self.console, session.image, session.masks, session.mask_tokens)
        answer = None
        stream = session.ask(question, raw=raw)
        try:
            for item in stream:
                printer.feed(item)
                answer = item if isinstance(item, Answer) else answer
        finally:
            stream.close()  # type: ignore[attr-defined] - a generator; it ends the answer
        if answer is not None:
            self._show(answer, raw=raw)

    def _show(self, answer: Answer, *, raw: bool) -> None:
        if answer.hint:
            self._say(answer.hint.replace('force_seg=True', '/set force_seg=true') + f'\n(asked: {answer.asked})')
            return
        if answer.cut:
            self._say(f'(cut at {self.session.options.max_new_tokens} tokens; /set max_new_tokens=... allows more)')
        if self.draw is not None and answer.image is not None:
            self.console.print(self.draw(answer.image, answer.masks, answer.colors))
        files = self.session.write(answer)
        for number, path in enumerate(files):
            k = answer.earlier + number
            line = Text('  ')
            if k < len(answer.masks):
                score = f'score {answer.scores[k]:.2f}, ' if answer.masks[k].any() else 'empty, '
                line += chip(f' {k + 1} ', answer.colors[k]) + Text(f' {score}{int(answer.masks[k].sum())} pixels  ')
            line.append(printable(str(path)))
            self.console.print(line, soft_wrap=True)

    def _image(self, text: str) -> None:
        if not text:
            raise UserError('which image? /image PATH')
        self.session.open(path_of(text))

    def _reset(self, _: str) -> None:
        self.session.answers.clear()
        self._say('the conversation begins anew')

    def _set(self, text: str) -> None:
        if text:
            self.session.set(text)
        self._say('  '.join(f'{key}={value}' for key, value in dataclasses.asdict(self.session.options).items()))

    def _save(self, text: str) -> None:
        for path in self.session.save(path_of(text) if text else None):
            self._say(f'  {path}')

    def _help(self, _: str) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, (argument, about) in COMMANDS.items():
            table.add_row(Text(f'{name} {argument}'), Text(about))
        self.console.print(table)

    def _say(self, text: str) -> None:
        self.console.print(Text(printable(text), 'dim'), soft_wrap=True)


def path_of(text: str) -> str:
    """A path as it is typed or dragged into a terminal: with ~, in quotes, or with backslashes before spaces."""
    if is_address(text):
        return text
    if not Path(text).expanduser().exists():
        try:
            words = shlex.split(text)
        except ValueError:
            raise DataError(f'{text}: a quote is not closed') from None
        text = words[0] if len(words) == 1 else text
    return str(Path(text).expanduser())
