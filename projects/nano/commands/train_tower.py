"""Train the vision tower of the nano parts: it learns to name what each of its patches shows."""

from __future__ import annotations

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python tools/train_tower.py work_dirs/nano_tower',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--scenes', type=int, default=12000, metavar='N', help='to draw (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=9000, metavar='N', help='(default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, metavar='N', help='processes that draw (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from ..tower import train_tower

    right = train_tower(args.out, scenes=args.scenes, steps=args.steps, workers=args.workers)
    shares = ', '.join(f'{name} {share:.3f}' for name, share in right.items())
    print(f'named right, of the patches with an object of scenes not trained on: {shares}')
    print(f'written: {args.out}. Next: python tools/train.py configs/lisa/lisa_nano_looking.py')
