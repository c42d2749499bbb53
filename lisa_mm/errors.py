"""Errors that a user can cause: the tools print them without a traceback and exit with status 1. And the end by a signal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: the message says what was given, what is allowed and what to do."""


class ConfigError(UserError):
    """One or more faults of a config, all found before anything is built.

    Args:
        faults: One sentence per fault, or a single sentence.
    """

    def __init__(self, faults: str | Iterable[str]):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__('\n'.join(self.faults))


class DataError(UserError):
    """An unusable file of a data set: names the file, the record and the remedy.

    Args:
        message: The whole message.
        file: The file at fault.
        record: The record in the file: a number, an id, a key.
    """

    def __init__(self, message: str, *, file: object = '', record: object = ''):
        super().__init__(message)
        self.file = str(file)
        self.record = str(record)


class CheckpointError(UserError):
    """A checkpoint that does not fit the model, or can't be read."""


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite: names the step and the batch's samples."""


class WorkFolderError(UserError):
    """A work folder that can't be written, or that another run writes into."""


class TrainingStopped(Exception):  # noqa: N818 - not an error
    """A signal ended the training in good order.

    Args:
        message: Where the training stopped and how to go on; empty in all processes but the first.
        signal: The signal's number.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.exit_status = 128 + signal


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint ' Did you mean X?' with the nearest known name, or the list of all of them.

    >>> nearest('lora_rank', ['lora', 'seg_head', 'lora_r'])
    " Did you mean 'lora_r'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f' Did you mean {close[0]!r}?' if close else f' Known: {", ".join(known) or "none"}.'
