"""Compare evaluations: tables of figures with intervals, and differences on the same questions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/compare.py results/mine results/other --published\n'
        '  python tools/compare.py results/mine results/other --format latex --out tables.tex\n'
        '  python tools/compare.py results/mine results/other --report report.html',
    )
    parser.add_argument(
        'results',
        nargs='+',
        metavar='FOLDER',
        help='a folder that tools/test.py --out wrote, or its results.json; the first is the reference',
    )
    parser.add_argument('--format', default='table', choices=['table', 'markdown', 'latex'], help='default: %(default)s')
    parser.add_argument('--published', action='store_true', help='add rows of published figures, with their sources')
    parser.add_argument('--out', help='write the tables to this file')
    parser.add_argument('--report', help='also write a page with figures and pictures of all of them to this html file')
    args = parser.parse_args()

    from lisa_mm.apis.asking import check_file_to_write
    from lisa_mm.reporting import compare, write_report

    for path in filter(None, (args.out, args.report)):
        check_file_to_write(path)
    tables = compare(args.results, form=args.format, published=args.published)
    if args.report:
        write_report([Path(path) for path in args.results], Path(args.report))
    if args.out:
        Path(args.out).write_text(tables, encoding='utf-8')
    else:
        print(tables, end='')
    for path in filter(None, (args.out, args.report)):
        print(f'written: {path}', file=sys.stderr)  # so that stdout is the tables alone


if __name__ == '__main__':
    run_command(main)
