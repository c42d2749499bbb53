"""The subcommands of tools/benchmark.py."""

from __future__ import annotations

import argparse

from . import answers, data, evaluation, import_memory, paper, serving, speed
from .memory import compare


def main(description: str | None) -> None:
    """Parse the arguments and run the named benchmark.

    Args:
        description: Description of the command for ``--help``.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/benchmark.py speed train --as-original\n  python tools/benchmark.py paper\n'
        '  python tools/benchmark.py data\n  python tools/benchmark.py memory\n'
        '  python tools/benchmark.py answers --model work_dirs/lisa_nano\n'
        '  python tools/benchmark.py evaluation --batch-sizes 1 4\n'
        '  python tools/benchmark.py serving --model work_dirs/lisa_nano\n'
        '  python tools/benchmark.py import-memory --size 3GB --shard 500MB',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for module in (speed, paper, data, compare, import_memory, answers, serving, evaluation):
        module.add_parser(commands)
    args = parser.parse_args()
    args.run(args)
