"""Answer one question about one image, or many about many, into a folder: what tools/infer.py does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ..engine.device import describe_device
from ..engine.lock import locked
from ..errors import UserError, nearest
from ..labelling import KINDS
from ..models.decoding import AnswerOptions
from .answers import Answer
from .asking import check_batch_size, check_folder, check_options, check_text, prepare_request
from .folder_run import FolderRun, Report
from .inferencer import LISAInferencer
from .loading import prepare_model, resolve
from .run_identity import claim, identity_of, refuse_run
from .saving import save_answer
from .tasks import Task, check_tasks, tasks_of_file, tasks_of_folder


def answer_one(
    target: str | Path,
    checkpoint: str | Path | None,
    image: str | Path,
    question: str,
    out: str | Path,
    *,
    options: AnswerOptions,
    raw: bool = False,
    device: str | None = None,
    dtype: str = 'float32',
) -> tuple[Answer, list[Path]]:
    """Answer one question about one image; everything is checked before the model is read.

    Args:
        target, checkpoint: As in :func:`.loading.resolve`.
        image: A file or an http(s) address.
        question, raw, options: See :class:`.requests.Request`.
        out: Folder of masks and overlay; what is there stays.
        device, dtype: As in :class:`.inferencer.LISAInferencer`.

    Returns:
        The answer and its files.

    Raises:
        UserError: for a fault of what was given.
    """
    refuse_run(out)
    ready, pixels = prepare_request(target, checkpoint, image, question, out, options=options, device=device, dtype=dtype)
    inferencer = LISAInferencer(ready)
    print(describe_device(inferencer.device, dtype), file=sys.stderr)
    answer = inferencer(pixels, question, raw=raw, **vars(options))
    answer = replace(answer, name=str(image))
    return answer, save_answer(answer, out, page=True)


def answer_many(
    target: str | Path,
    checkpoint: str | Path | None,
    source: str | Path,
    question: str | None,
    out: str | Path,
    *,
    options: AnswerOptions,
    raw: bool = False,
    batch_size: int = 8,
    limit: int | None = None,
    labels: str | None = None,
    device: str | None = None,
    dtype: str = 'float32',
) -> Report:
    """Answer a question about each image of a folder, or the questions of a file; a second call goes on where the first stopped.

    Everything that can be known is checked before the model is read. Images that can't be read are reported and tried again by
    the next call. See :class:`.folder_run.FolderRun` for the files.

    Args:
        target, checkpoint: As in :func:`.loading.resolve`.
        source: A folder, or a jsonl of questions (:data:`lisa_mm.datasets.record_formats.QUESTION`).
        question: The question about each image of the folder; None for a jsonl.
        out: A new folder, or the one of the run to go on with.
        options, raw: How questions are answered that do not say it themselves.
        batch_size: Number of questions answered at once.
        limit: Number of questions to answer in this call, at most.
        labels: Write the answers as labels too: one of :data:`lisa_mm.labelling.KINDS`.
        device, dtype: As in :class:`.inferencer.LISAInferencer`.

    Raises:
        UserError: for a fault of what was given, or a folder that another run has or holds.
    """
    source, out = Path(source), Path(out)
    check_options(options)
    check_batch_size(batch_size)
    if labels is not None and labels not in KINDS:
        raise UserError(f'labels as {labels!r}; allowed: {", ".join(KINDS)}.{nearest(labels, KINDS)}')
    check_folder(out)
    tasks, root, notes = _tasks(source, question, out, raw, options.seed)
    ready = prepare_model(*resolve(target, checkpoint), device=device, dtype=dtype)
    check_tasks(tasks, ready.tokenizer_spec, options, '' if question is not None else source)
    identity = identity_of(ready, source, question, options, raw=raw)

    with locked(out, option='--out'):
        claim(out, identity)
        run = FolderRun(tasks, root, out, options)
        run.report.notes.update(notes)
        if run.report.before:
            left = f'{len(run.pending)} are left' if run.pending else 'none is left'
            print(f'{run.report.before} of {len(tasks)} questions are answered already, {left}', file=sys.stderr)
        if run.pending:
            inferencer = LISAInferencer(ready)
            print(describe_device(inferencer.device, dtype), file=sys.stderr)
            try:
                run.answer(inferencer, batch_size=batch_size, limit=limit)
            except KeyboardInterrupt:
                done = run.report.before + run.report.answered
                print(f'{done} of {len(tasks)} questions are answered; the same command goes on from there', file=sys.stderr)
                raise
        if labels is not None:
            run.write_labels(labels)
    return run.report


def _tasks(source: Path, question: str | None, out: Path, raw: bool, seed: int) -> tuple[list[Task], Path, dict[str, int]]:
    """The questions, the folder that their images' paths begin at, and notes."""
    if question is None:
        tasks, notes = tasks_of_file(source, raw=raw, seed=seed)
        return tasks, source.parent, dict(notes)
    check_text(question, 'question')
    return tasks_of_folder(source, question, raw=raw, seed=seed, leave_out=out), source, {}
