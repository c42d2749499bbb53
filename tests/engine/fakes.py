"""A runner and its log, as far as hooks look at them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

from PIL import Image


class Log(logging.Handler):
    """A logger's messages as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger('test')
        self.logger.addHandler(self)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def fake_runner(work_dir: Path | None = None, *, model: object = None, rank: int = 0, iteration: int = 0) -> SimpleNamespace:
    log = Log()
    optimizer = SimpleNamespace(get_lr=lambda: {'lr': [0.5]})
    return SimpleNamespace(
        rank=rank,
        iter=iteration,
        work_dir=str(work_dir),
        is_training=True,
        optim_wrapper=optimizer,
        strategy=SimpleNamespace(module=model),
        model=None,
        cfg={},
        logger=log.logger,
        log=log,
    )


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == 'PNG'
        return image.size
