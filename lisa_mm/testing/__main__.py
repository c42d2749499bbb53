"""One of several processes of :func:`check_part`: python -m lisa_mm.testing CONFIG WORK_DIR, started by torchrun."""

import sys

from .check_part import train_in_process

if __name__ == '__main__':
    train_in_process(*sys.argv[1:])
