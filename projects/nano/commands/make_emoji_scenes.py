"""Write scenes of named emoji on photographs, to pretrain little models on thousands of names."""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0\n'
        '  python tools/make_emoji_scenes.py data/emoji emoji-datasource-*.tgz --photos DIR/reason_seg/ReasonSeg/train',
    )
    parser.add_argument('folder', help='written: train.jsonl, val.jsonl, images/, tokenizer/')
    parser.add_argument('packages', nargs='+', help='emoji-datasource packages; an emoji has a drawing of each')
    parser.add_argument('--photos', help='folder of jpg files for the ground (default: drawn textures)')
    parser.add_argument('--train', type=int, default=8000, help='scenes (default: %(default)s)')
    parser.add_argument('--val', type=int, default=200, help='scenes (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='processes that draw')
    args = parser.parse_args()

    from ..emoji import write_scenes

    names = write_scenes(args.folder, args.packages, args.photos, train=args.train, val=args.val, workers=args.workers)
    print(f'{args.train:,} + {args.val:,} scenes of {names:,} named emoji are in {args.folder}.')
    print('Next: python tools/train.py configs/lisa/lisa_emoji_pretrain.py')
