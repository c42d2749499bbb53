"""How every tool exits on a user's error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from .errors import TrainingStopped, UserError


def run_command(main: Callable[[], object]) -> None:
    """Run a tool; a user's error is printed without a traceback, and the exit status is 1.

    After a signal the exit status is 128 plus its number: 130 for Ctrl-C, 138 for SIGUSR1, 143 for SIGTERM.
    """
    try:
        main()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
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
