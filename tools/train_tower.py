"""The door of projects/nano/commands/train_tower.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where projects/ is: no installation holds it

from lisa_mm.command import run_command
from projects.nano.commands.train_tower import main

if __name__ == '__main__':
    run_command(main)
