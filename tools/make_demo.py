"""Write the demo set: synthetic scenes of nameable objects in ReasonSeg's layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lisa_mm.datasets.demo.kinds import HELD_OUT
from lisa_mm.datasets.demo.records import reasoning_item
from lisa_mm.datasets.demo.scenes import draw_scene
from lisa_mm.datasets.demo.writer import COUNTS, SEED, verify_splits, write_demo
from lisa_mm.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/make_demo.py data/demo --pretrain 12000 --preview preview.png',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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


def draw_preview(path: Path, seed: int, count: int = 12) -> None:
    """A sheet of test scenes: the target outlined, the question beneath, a star where the combination is held out."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, count // 3, figsize=(4 * (count // 3), 12), layout='constrained')
    for index, axis in enumerate(axes.flat):
        # A stride that is coprime to the 16 kinds and the 4 cases of a target shows a mixture of both.
        scene = draw_scene(seed, 'test', index * 9)
        target = scene.objects[scene.target]
        question = reasoning_item(scene, seed, '')['text'][0]
        axis.imshow(scene.image, interpolation='nearest')
        axis.contour(target.mask, levels=[0.5], colors='white', linewidths=3.5)
        axis.contour(target.mask, levels=[0.5], colors='magenta', linewidths=1.8)
        star = ' *' if HELD_OUT[target.kind] == target.colour else ''
        axis.set_title(question + star, y=-0.1, fontsize=11, wrap=True)
        axis.set_axis_off()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=80)
    except (OSError, ValueError) as error:
        raise UserError(f'the preview could not be written to {path}: {error}') from error
    finally:
        plt.close(figure)


def main() -> int:
    args = parse_args()
    try:
        if args.seed < 0:
            raise UserError(f'--seed {args.seed} must not be negative')
        write_demo(args.root, args.splits, args.pretrain, seed=args.seed, num_workers=args.workers, limit=args.limit)
        if args.preview:
            draw_preview(args.preview, args.seed)
            print(f'preview: {args.preview}')
        if args.verify and (changed := verify_splits(num_workers=args.workers)):
            raise UserError(f'these splits are not drawn as recorded: {", ".join(changed)}')
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'The demo set is in {args.root}: ' + ', '.join(sorted(p.name for p in args.root.iterdir() if p.is_dir())))
    print(f'Next: train with a config of configs/lisa whose data root is {args.root}, or look at it with --preview sheet.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
