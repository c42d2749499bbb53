"""Speed and memory, measured."""

from __future__ import annotations

import argparse

from lisa_mm.apis import benchmark_data
from lisa_mm.apis.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/benchmark.py data',
    )
    subparsers = parser.add_subparsers(dest='command', required=True)
    benchmark_data.add_parser(subparsers)
    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    run_command(main)
