"""Put a trained lisa_nano into the package, where LISAInferencer('lisa_nano') finds it."""

from __future__ import annotations

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example:\n  python tools/ship_nano.py work_dirs/lisa_nano',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='work folder of the training')
    parser.add_argument('--data-root', default='data/demo', help='the demo set, which the example is from (default: %(default)s)')
    parser.add_argument('--out', help='folder to write or replace (default: lisa_mm/weights/lisa_nano)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from ..shipping import ship

    folder = ship(args.source, args.data_root, args.out)
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    print(f'written: {folder}, {size / 1e6:.1f} MB. Next: python tools/test.py ' + (args.out or 'lisa_nano'))
