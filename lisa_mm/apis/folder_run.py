"""Answers to many questions in a folder: a line each, pictures beside them, and a second call goes on where the first stopped."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..labelling import KINDS, item_of_answer, open_labels
from ..labelling.files import GrowingFile
from ..labelling.writer import KNOWN
from ..models.decoding import AnswerOptions
from ..progress import progress
from .answers import Answer
from .inferencer import LISAInferencer
from .preparing import Prepared, Preparer, Seen
from .saving import save_answer
from .tasks import Task, key_of

ANSWERS, FAULTS = 'answers.jsonl', 'faults.jsonl'
NO_MASK = 'answers without a mask; --force-seg makes the model give one'
CUT = 'answers that are as long as --max-new-tokens allows, and may go on'
# errors of the model alone, such as one of memory, that are taken for faults of images before the run is given up
MOST_IN_A_ROW = 3


@dataclass
class Report:
    """What became of a run.

    Args:
        answered: Questions answered by this call.
        before: Questions answered by earlier calls.
        faults: Questions that could not be answered.
        left: Questions left to later calls by a limit.
        files: Files to look at.
        notes: What a user should know, with counts.
    """

    answered: int = 0
    before: int = 0
    faults: int = 0
    left: int = 0
    files: list[Path] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


class FolderRun:
    """Answers questions into a folder whose lock is held and which :func:`.run_identity.claim` has taken.

    ``answers.jsonl`` gets a line as soon as a question is answered, after its pictures are written: ``<image>_mask_<k>.png`` and
    ``<image>_overlay.png`` in the image's subfolder. ``faults.jsonl`` has the questions that the last call could not answer.

    Args:
        tasks: All questions, those about one image side by side.
        root: The folder that their images' paths begin at.
        out: The folder.
        options: How they are answered; each task has its seed.
    """

    def __init__(self, tasks: Sequence[Task], root: str | Path, out: str | Path, options: AnswerOptions):
        self.root, self.out, self.options = Path(root), Path(out), options
        self.answers = GrowingFile(self.out / ANSWERS)
        self.report = Report()
        if self.answers.cut:
            self.report.notes[f'last lines of {ANSWERS} that were cut off; they are answered again'] += 1
        done: set[str] = set()
        self._stems: set[str] = set()
        for record in self.answers.rows():
            done.add(key_of(record))
            self._stems.add(record['stem'])
        self.pending = [task for task in tasks if task.key not in done]
        self.report.before = len(tasks) - len(self.pending)
        self.report.files = self._files()

    def answer(self, inferencer: LISAInferencer, *, batch_size: int = 8, limit: int | None = None) -> Report:
        """Answer what is not answered yet.

        Args:
            inferencer: The model.
            batch_size: Number of questions answered at once.
            limit: Number of questions to answer, at most.
        """
        tasks = self.pending[:limit]
        self.report.left = len(self.pending) - len(tasks)
        # before a line says which names are taken, so that a run that was killed writes over its own pictures
        stems = {task.key: self._free_stem(task) for task in tasks}
        (self.out / FAULTS).unlink(missing_ok=True)
        results = progress(self._results(inferencer, tasks, batch_size), 'answering', 'question', total=len(tasks))
        # pictures are written while the model works; leaving the block waits for them, also after Ctrl-C
        with ThreadPoolExecutor(1) as writer:
            waiting: deque[Future[None]] = deque()
            for task, result in results:
                waiting.append(writer.submit(self._write, task, result, stems[task.key]))
                while len(waiting) > 2 * batch_size:
                    waiting.popleft().result()
            for written in waiting:
                written.result()
        self.report.files = self._files()
        return self.report

    def write_labels(self, kind: str) -> None:
        """Write labels of all answers into ``out/<kind>``; those that are there stay as they are."""
        with_labels = open_labels(kind, self.out / kind, images=self.root)
        for record in self.answers.rows():
            with_labels.add(item_of_answer(record, folder=self.root, phrase=record['is_phrase'] or None))
        self.report.files += with_labels.finish()
        self.report.notes.update({note: count for note, count in with_labels.notes.items() if note != KNOWN})

    def _files(self) -> list[Path]:
        return [path for path in (self.out / ANSWERS, self.out / FAULTS) if path.exists()]

    def _free_stem(self, task: Task) -> str:
        name = PurePosixPath(task.image)
        stem = first = (name.parent / name.stem).as_posix()
        number = 1
        while stem in self._stems:
            number += 1
            stem = f'{first}_{number}'
        self._stems.add(stem)
        return stem

    def _write(self, task: Task, result: Answer | Exception, stem: str) -> None:
        if not isinstance(result, Answer):
            GrowingFile(self.out / FAULTS).add({**task.to_dict(), 'where': task.where, 'error': _words(result)})
            self.report.faults += 1
            return
        place = PurePosixPath(stem)
        files = save_answer(result, self.out / place.parent, stem=place.name, replace=True)
        record = {
            **result.to_dict(),
            **task.to_dict(),
            'options': asdict(replace(self.options, seed=task.seed)),
            'stem': stem,
            'files': [path.relative_to(self.out).as_posix() for path in files],
        }
        self.answers.add(record)
        self.report.answered += 1
        self.report.notes[NO_MASK] += bool(result.hint)
        self.report.notes[CUT] += result.cut

    def _results(
        self, inferencer: LISAInferencer, tasks: Sequence[Task], batch_size: int
    ) -> Iterator[tuple[Task, Answer | Exception]]:
        answering = _Answering(inferencer)
        for batch in self._batches(inferencer.preparer, tasks, batch_size):
            answered = iter(answering.answer([found for _, found in batch if isinstance(found, Prepared)]))
            for task, found in batch:
                yield task, next(answered) if isinstance(found, Prepared) else found

    def _batches(self, preparer: Preparer, tasks: Sequence[Task], size: int) -> Iterator[list[tuple[Task, Prepared | UserError]]]:
        """Prepared questions, and the faults of others; the next batch is prepared by a thread meanwhile."""
        waiting = iter(tasks)
        last: dict[str, Seen] = {}

        def prepared(task: Task) -> Prepared | UserError:
            try:
                found = preparer.prepare(task.request(self.root, self.options), last.get(task.image))
            except UserError as error:
                return error
            last.clear()
            last[task.image] = found.image
            return found

        def some() -> list[tuple[Task, Prepared | UserError]]:
            return [(task, prepared(task)) for task in islice(waiting, size)]

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(some)
            while batch := coming.result():
                coming = pool.submit(some)
                yield batch


class _Answering:
    """Answers batches; one that fails is halved, until the question at fault is alone."""

    def __init__(self, inferencer: LISAInferencer):
        self.inferencer = inferencer
        self.failed = 0

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Answer | Exception]:
        if not batch:
            return []
        try:
            answers = self.inferencer.forward(batch)
        except UserError:
            raise  # of the model or the options, so of every question
        except Exception as error:
            if len(batch) == 1:
                self.failed += 1
                if self.failed == MOST_IN_A_ROW:
                    raise
                return [error]
        else:
            self.failed = 0
            return answers
        # outside the handler, whose traceback keeps the batch's memory
        half = len(batch) // 2
        return [*self.answer(batch[:half]), *self.answer(batch[half:])]


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'


def print_report(report: Report, out: Path) -> None:
    """Print what became of a run: notes and counts on stderr, files on stdout."""
    for note, count in sorted((+report.notes).items()):
        print(f'note: {note}: {count}', file=sys.stderr)
    parts = [f'{report.answered} answered']
    parts += [f'{report.before} answered by earlier calls'] if report.before else []
    parts += [f'{report.faults} not answered, see {out / FAULTS}; the same command tries them again'] if report.faults else []
    parts += [f'{report.left} left to the next call'] if report.left else []
    print(', '.join(parts), file=sys.stderr)
    for path in report.files:
        print(path)


__all__ = ['ANSWERS', 'FAULTS', 'KINDS', 'FolderRun', 'Report', 'print_report']
