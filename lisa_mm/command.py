"""How every tool exits on a user's error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from .errors import UserError


def run_command(main: Callable[[], object]) -> None:
    """Run a tool; a user's error is printed without a traceback, and the exit status is 1."""
    try:
        main()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader (head, less) has closed the pipe; python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
