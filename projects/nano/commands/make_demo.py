"""Write the demo set: synthetic scenes of nameable objects as ReasonSeg, refCOCO, gRefCOCO and FP-RefCOCO lay them out."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa_mm.errors import UserError

from ..demo.recorded import COUNTS, SEED


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults beside the arguments, and the example in one line."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python tools/make_demo.py data/demo --pretrain 12000 --preview preview.png',
        formatter_class=_Help,
    )
    parser.add_argument('root', type=Path, help='folder to write to, such as data/demo')
    parser.add_argument('--splits', nargs='+', default=list(COUNTS), metavar='SPLIT', help='which of train, val and test')
    parser.add_argument('--pretrain', type=int, default=0, metavar='N', help='also write N scenes to pretrain on (say 12000)')
    parser.add_argument('--limit', type=int, metavar='N', help='only N scenes a split, for a quick look')
    parser.add_argument('--seed', type=int, default=SEED, help='the recorded hashes belong to the default')
    parser.add_argument('--workers', type=int, default=2, metavar='N', help='processes that draw')
    parser.add_argument('--preview', type=Path, metavar='PNG', help='also draw a sheet of 12 test scenes and questions')
    parser.add_argument('--verify', action='store_true', help='draw all splits once more and compare with the recorded hashes')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from ..demo.writer import verify_splits, write_demo

    write_demo(args.root, args.splits, args.pretrain, seed=args.seed, num_workers=args.workers, limit=args.limit)
    if args.preview:
        from ..demo.preview import draw_preview

        draw_preview(args.preview, args.seed)
        print(f'preview: {args.preview}')
    if args.verify and (changed := verify_splits(num_workers=args.workers)):
        raise UserError(f'these splits are not drawn as recorded: {", ".join(changed)}')
    print(f'The demo set is in {args.root}: ' + ', '.join(sorted(p.name for p in args.root.iterdir() if p.is_dir())))
    print(f'Next: train with a config of configs/lisa whose data root is {args.root}, or look at it with --preview sheet.png')
