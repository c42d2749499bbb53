"""The conversation on this process's terminal, or on a pipe."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from ..apis.asking import check_folder, read_image
from ..apis.inferencer import LISAInferencer
from ..apis.loading import prepare_model, resolve
from ..command import answer_alone
from ..engine.device import describe_device
from .completion import install
from .pictures import picture_drawer
from .repl import Repl
from .session import ChatSession


def chat(
    model: str | Path,
    image: str | None = None,
    *,
    out: str | Path = 'answers',
    pictures: str = 'auto',
    device: str | None = None,
    dtype: str = 'float32',
) -> int:
    """Talk about images; questions come from the keyboard, or one on each line of a pipe.

    Args:
        model: A work folder or an imported model.
        image: The first image, a file or an http(s) address.
        out: Folder of the session's folder.
        pictures: One of :data:`.pictures.WAYS`.
        device, dtype: As in :class:`lisa_mm.apis.LISAInferencer`.

    Returns:
        The number of lines that could not be answered.

    Raises:
        UserError: for a fault of the arguments, before the model is read.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='replace')
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    draw = picture_drawer(console, pictures)
    check_folder(out)
    with answer_alone():
        ready = prepare_model(*resolve(model), device=device, dtype=dtype)
        if image is not None:
            read_image(image, ready.image_loader())
        session = ChatSession(LISAInferencer(ready, show_progress=False), out)
    print(describe_device(session.inferencer.device, dtype), file=sys.stderr)
    if image is not None:
        session.open(image)
    is_script = not sys.stdin.isatty()
    repl = Repl(session, console, errors, draw=draw, is_script=is_script)
    if is_script:
        repl.run(_next_line)
    else:
        install(repl.complete)
        repl.run(input)
    return repl.faults


def _next_line(_: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
