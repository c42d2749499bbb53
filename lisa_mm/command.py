"""How every tool writes its answer, and how it exits on a user's error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from .errors import TrainingStopped, UserError


def run_command(main: Callable[[], object]) -> None:
    """Run a tool; a user's error is printed without a traceback, and the exit status is 1.

    After a signal the exit status is 128 plus its number: 130 for Ctrl-C, 138 for SIGUSR1, 143 for SIGTERM.
    With ``--json`` the faults are the JSON on stdout: ``{'ok': false, 'faults': [...]}``.
    """
    try:
        main()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        if '--json' in sys.argv[1:]:
            print(json.dumps({'ok': False, 'faults': list(getattr(error, 'faults', [str(error)]))}, indent=1))
        sys.exit(1)
    except TrainingStopped as stopped:
        if str(stopped):
            print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_status)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader (head, less) has closed the pipe; python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def answer_alone() -> Iterator[None]:
    """Send to stderr what is written to stdout in this block, so that the tool's answer, printed after it, stands there alone.

    Logs, warnings and progress come from Python, libraries (DeepSpeed prints when it is imported) and child processes: the
    file descriptor itself is exchanged.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):  # for loggers that keep the stream, after this block too
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
