"""The subcommands of tools/benchmark.py. Their modules import torch, so that only the one that runs is imported."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from . import paper, speed

EXAMPLES = """examples:
  python tools/benchmark.py speed train --as-original
  python tools/benchmark.py paper
  python tools/benchmark.py data
  python tools/benchmark.py memory
  python tools/benchmark.py start-memory
  python tools/benchmark.py answers --model work_dirs/lisa_nano
  python tools/benchmark.py evaluation --batch-sizes 1 4
  python tools/benchmark.py serving --model work_dirs/lisa_nano
  python tools/benchmark.py import-memory --size 3GB --shard 500MB"""


def main(description: str | None) -> None:
    """Parse the arguments and run the named benchmark.

    Args:
        description: Description of the command for ``--help``.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    speed.add_parser(commands)
    paper.add_parser(commands)

    add = _parser(commands, 'data', 'data', 'index, memory and samples/s of data like refCOCO, ADE20K and ReasonSeg')
    add('--images', type=int, default=20000, help='of the refCOCO-like set: 10 annotations, 7 sentences each')
    add('--label-maps', type=int, default=2000, help='of the ADE20K-like set')
    add('--photos', type=int, default=1000, help='of the ReasonSeg-like set: 1200 x 1600 pixels')
    add('--samples', type=int, default=100, help='timed')
    add('--tokenizer', help='folder; by default the nano tokenizer')
    add('--out', help='a json with the numbers')

    add = _parser(commands, 'memory', 'memory.compare', 'calculated against measured memory of training steps (CPU)')
    add('--only', metavar='TEXT', help='configurations whose name contains this')
    add('--out', help='a json with the numbers')
    add('--table', help='a markdown table')
    add('--figure', help='a png: measured on one axis, calculated on the other')

    add = _parser(commands, 'start-memory', 'memory.start', "host memory of a training's start, with 1, 2, 4 processes")
    add('--processes', type=int, nargs='+', default=[1, 2, 4], metavar='N', help='(default: 1 2 4)')
    add(
        '--files',
        choices=['bfloat16', 'float16', 'float32'],
        default='bfloat16',
        help='dtype of the files (default: %(default)s)',
    )
    add('--strategy', choices=['zero2_bf16', 'zero2', 'ddp'], default='zero2_bf16', help='(default: %(default)s)')
    add('--train-embeddings', action='store_true', help='train embeddings and head whole, not the new rows alone')
    add('--dir', help='where the temporary folder is made')
    add('--out', help='a json with the numbers')

    add = _parser(commands, 'import-memory', 'import_memory', 'peak memory of importing a made-up checkpoint')
    add('--size', default='3GB', help='of the checkpoint; twice as much disk is needed (default: %(default)s)')
    add('--shard', default='500MB', help='largest shard (default: %(default)s)')
    add('--dir', help='where the temporary folder is made')

    add = _parser(commands, 'answers', 'answers', 'questions answered one by one and in batches')
    add('--model', default='mid', help="a folder, or 'mid' for a model of random weights (default: %(default)s)")
    add('--rounds', type=int, default=3, help='of which the median is printed (default: %(default)s)')
    add('--tokens', type=int, default=32, help='of an answer, at most (default: %(default)s)')

    add = _parser(
        commands,
        'serving',
        'serving',
        'answers per second and waiting times of a server with many clients, with and without batches',
    )
    add('--model', default='lisa_nano', help='what tools/serve.py takes (default: %(default)s)')
    add('--clients', type=int, default=64, help='at once (default: %(default)s)')
    add('--requests', type=int, default=10, help='of each client, one after the other (default: %(default)s)')
    add('--batch', type=int, default=16, help='questions of a batch, at most (default: %(default)s)')
    add('--turns', type=int, default=2, help='in which the requests are asked (default: %(default)s)')
    add('--side', type=int, default=224, help='pixels of the shorter side of images (default: %(default)s)')

    add = _parser(commands, 'evaluation', 'evaluation', 'seconds per image of an evaluation, by batch size')
    add('--batch-sizes', type=int, nargs='+', default=[1, 2, 4], metavar='N', help='(default: 1 2 4)')
    add('--images', type=int, default=4, help='of a round (default: %(default)s)')
    add('--rounds', type=int, default=5, help='of which the median is printed (default: %(default)s)')

    args = parser.parse_args()
    args.run(args)


def _parser(commands: Any, name: str, module: str, summary: str) -> Any:
    """The ``add_argument`` of a new subcommand, whose module is imported when it runs: help needs no torch."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + '.',
        epilog='example:' + next(line for line in EXAMPLES.splitlines() if name in line.split()),
    )
    parser.set_defaults(run=lambda args: import_module(f'.{module}', __package__).run(args))
    return parser.add_argument
