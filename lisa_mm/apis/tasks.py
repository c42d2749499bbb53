"""The questions of a run over many images: one about each image of a folder, or those of a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets import prompts
from ..datasets.conversation import Turn
from ..datasets.formats import FAULTS_SHOWN
from ..datasets.reading import read_rows
from ..datasets.record_formats import QUESTION
from ..errors import DataError, UserError
from ..models.decoding import AnswerOptions
from ..structures import TokenizerSpec
from .asking import check_history, check_options, check_question
from .pairing import images_in
from .requests import Request

QUESTION_FILES = ('.jsonl', '.json')


@dataclass(frozen=True)
class Task:
    """A question of a run over many images.

    Args:
        image: The image's path below the run's folder, with "/".
        question: The question or phrase, as it was given.
        is_phrase: Ask it with the recipe's string for phrases, whatever its words are.
        raw: Ask it as it is.
        seed: Seed of the draws.
        history: Earlier turns.
        id: The user's own name of it.
        where: Its place in the file, for errors.
    """

    image: str
    question: str
    is_phrase: bool = False
    raw: bool = False
    seed: int = 0
    history: tuple[Turn, ...] = ()
    id: Any = None
    where: str = ''

    @property
    def key(self) -> str:
        """Equal for equal questions, whatever run or line they come from."""
        identity = [self.image, self.question, self.is_phrase, self.raw, self.seed, self.history, self.id]
        return json.dumps(identity)

    def request(self, root: Path, options: AnswerOptions) -> Request:
        """The request, for an image below ``root``."""
        asked = prompts.ask_for(self.question) if self.is_phrase else self.question
        raw = self.raw or self.is_phrase
        return Request(root / self.image, asked, self.history, raw, replace(options, seed=self.seed))

    def to_dict(self) -> dict[str, Any]:
        """What, beside the answer, says which question it was."""
        return {
            **({} if self.id is None else {'id': self.id}),
            'image': self.image,
            'question': self.question,
            'is_phrase': self.is_phrase,
            'raw': self.raw,
            'seed': self.seed,
            'history': [list(turn) for turn in self.history],
        }


def key_of(record: dict[str, Any]) -> str:
    """The key of the task whose :meth:`Task.to_dict` is in a record."""
    history = tuple((question, answer) for question, answer in record['history'])
    given = {key: record[key] for key in ('image', 'question', 'is_phrase', 'raw', 'seed')}
    return Task(**given, history=history, id=record.get('id')).key


def tasks_of_folder(
    folder: str | Path, question: str, *, raw: bool = False, seed: int = 0, leave_out: str | Path | None = None
) -> list[Task]:
    """One question about each image of a folder and its subfolders.

    Args:
        folder: The folder.
        question, raw, seed: See :class:`Task`.
        leave_out: A folder inside it whose images are not asked about, such as the one of the answers.

    Raises:
        UserError: if there is no image, or the folder itself is left out.
    """
    folder = Path(folder)
    hidden = None if leave_out is None else Path(leave_out).resolve()
    if hidden == folder.resolve():
        raise UserError(f'{folder} holds the images; the answers need a folder of their own. Give another --out.')
    found = images_in(folder)
    if hidden is not None and hidden.is_relative_to(folder.resolve()):
        found = [path for path in found if not path.resolve().is_relative_to(hidden)]
        if not found:
            raise DataError(f'{folder} holds no image outside {hidden}. Give a folder of images.', file=folder)
    return [Task(path.relative_to(folder).as_posix(), question, raw=raw, seed=seed) for path in found]


def tasks_of_file(path: str | Path, *, raw: bool = False, seed: int = 0) -> tuple[list[Task], Counter[str]]:
    """The questions of a jsonl (or a json with a list), those about one image side by side.

    Args:
        path: The file; :data:`lisa_mm.datasets.record_formats.QUESTION` has its fields.
        raw, seed: For the questions whose rows do not give their own.

    Returns:
        The questions, and notes with their counts.

    Raises:
        DataError: with the first faults of all rows: fields, and images that are not there.
    """
    path = Path(path)
    notes: Counter[str] = Counter()
    tasks: dict[str, Task] = {}
    faults: list[DataError] = []
    present: dict[str, bool] = {}
    for where, _, parse in read_rows(path):
        try:
            task = _task(QUESTION.read(parse(), path, where, notes), path, where, raw, seed)
            if task.image not in present:
                present[task.image] = (path.parent / task.image).is_file()
            if not present[task.image]:
                raise DataError(f'{path}: {where}: the image {path.parent / task.image} is not there.', file=path, record=where)
        except DataError as error:
            faults.append(error)
            continue
        if task.key in tasks:
            notes['rows that repeat an earlier one, which is asked once; with an id of their own they are asked again'] += 1
        tasks.setdefault(task.key, task)
    refuse(faults)
    if not tasks:
        raise DataError(f'{path} holds no question. Write one row per line, e.g. {{"image": "a.jpg", "phrase": "the red cup"}}.')
    order = {image: number for number, image in enumerate(present)}
    return sorted(tasks.values(), key=lambda task: order[task.image]), notes


def _task(row: Any, path: Path, where: str, raw: bool, seed: int) -> Task:
    name = PurePosixPath(row['image'])
    if name.is_absolute() or '..' in name.parts:
        raise DataError(
            f'{path}: {where}: the image {row["image"]!r} does not lie below the folder of the file, where the names of images '
            'begin. Put the file into a folder above all images.',
            file=path,
            record=where,
        )
    is_phrase = 'phrase' in row
    return Task(
        image=name.as_posix(),
        question=row['phrase'] if is_phrase else row['question'],
        is_phrase=is_phrase,
        raw=not is_phrase and row.get('raw', raw),
        seed=row.get('seed', seed),
        history=tuple((question, answer) for question, answer in row.get('history', ())),
        id=row.get('id'),
        where=where,
    )


def check_tasks(tasks: Sequence[Task], spec: TokenizerSpec, options: AnswerOptions, file: str | Path = '') -> None:
    """Check all that can be known of the questions before a model is read.

    Raises:
        DataError: with the first faults of all questions.
    """
    known: dict[tuple[str, int, tuple[Turn, ...]], DataError | None] = {}
    faults = []
    for task in tasks:
        asked = (task.question, task.seed, task.history)
        if asked not in known:
            known[asked] = _fault(task, spec, options)
        error = known[asked]
        if error is not None:
            place = f'{file}: {task.where}: ' if task.where else ''
            faults.append(DataError(f'{place}{error}', file=file, record=task.where))
            if not task.where:
                break  # one question about all images
    refuse(faults)


def _fault(task: Task, spec: TokenizerSpec, options: AnswerOptions) -> DataError | None:
    try:
        check_question(task.question, spec)
        check_history(task.history, spec)
        check_options(replace(options, seed=task.seed))
    except DataError as error:
        return error
    return None


def refuse(faults: Iterable[DataError]) -> None:
    """Raise the first of several faults together, if there are any."""
    found = list(faults)
    if found:
        rest = len(found) - FAULTS_SHOWN
        shown = '\n'.join(map(str, found[:FAULTS_SHOWN])) + (f'\nand {rest} more faults' if rest > 0 else '')
        raise DataError(shown, file=found[0].file, record=found[0].record)
