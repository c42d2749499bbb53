"""Seconds, memory and operations of a step, beside LISA's own program, and what each saving gains.

    python benchmarks/speed.py train --as-original --rounds 5

The variants take turns, so that a busy machine slows them all alike, and each turn is a process of its own. `--as-original` adds
one without any saving: plain code computes as LISA's own program does. `--each` adds one variant for each saving alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

WORK = {
    'train': 'an optimizer step: 2 images with 3 conversations each',
    'validate': 'an image with 3 answers given: masks and counts at its size',
    'generate': 'one question about a new image: 12 tokens and a mask',
    'questions': '16 questions about a new image',
    'data': '40 samples of a refCOCO-like set (480 x 640 pixels), read by one worker',
    'photos': '40 samples of a ReasonSeg-like set (1200 x 1600 pixels), read by one worker',
}
PRESETS = ('mid', '7b_shaped', 'nano', 'tiny')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    kinds = '\n'.join(f'  {name:10} {says}' for name, says in WORK.items())
    parser.description, parser.formatter_class = f'{__doc__}\nkinds of work:\n{kinds}', argparse.RawDescriptionHelpFormatter
    parser.add_argument('work', nargs='+', choices=WORK, help='kinds of work')
    parser.add_argument('--preset', choices=PRESETS, default='mid', help='sizes of the model (default: %(default)s)')
    parser.add_argument('--as-original', action='store_true', help='measure without any saving too')
    parser.add_argument('--each', action='store_true', help='measure each saving alone too; implies --as-original')
    parser.add_argument('--against', metavar='FOLDER', help='measure another checkout of this package too')
    parser.add_argument('--rounds', type=int, default=5, help='of which medians are taken (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=2, help='timed steps of a turn, after a first (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=2, help='of torch (default: %(default)s)')
    parser.add_argument('--out', metavar='FOLDER', help='for results.json and speed.png')
    parser.add_argument('--page', metavar='FILE', help='write the tables between the markers of a page, such as docs/speed.md')
    parser.set_defaults(run=run)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``tools/benchmark.py speed``."""
    add_arguments(subparsers.add_parser('speed', help="a step's seconds, memory and operations, beside LISA's own program"))


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        UserError: for numbers below one, a folder without this package, a page without markers, or a turn that fails.
    """
    from benchmarks.turns import report, series
    from lisa_mm.errors import UserError

    for name in ('rounds', 'steps', 'threads'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} is {getattr(args, name)}; give at least 1.')
    if args.against is not None and not (Path(args.against) / 'lisa_mm').is_dir():
        raise UserError(f'--against {args.against}: this folder holds no lisa_mm. Give the folder of a checkout.')
    page = Path(args.page) if args.page else None
    if page is not None:
        for work in args.work:
            report.find_markers(page, work)
    out = Path(args.out) if args.out else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    results: dict[str, Any] = {}
    for work in args.work:

        def keep(found: dict[str, Any], work: str = work) -> None:
            results[work] = found
            if out is not None:
                report.write_json(results, out / 'results.json')

        variants = series.variants_of(work, as_original=args.as_original, each=args.each, against=args.against)
        series.measure(work, args.preset, variants, rounds=args.rounds, threads=args.threads, steps=args.steps, keep=keep)
        print(report.text(results[work], WORK[work]))
        if page is not None:
            report.fill_page(page, work, report.markdown(results[work], WORK[work]))
    if out is not None:
        report.draw(results, out / 'speed.png')


def main() -> None:
    """``python benchmarks/speed.py``."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    # started as a file, from anywhere: this checkout's packages in place of the files beside this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from lisa_mm.command import run_command

    run_command(main)
