"""List what a config can name: every registered part with its arguments, the overlays of --swap, and the benchmarks."""

from __future__ import annotations

import argparse
import json

from lisa_mm.command import answer_alone, run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/list_parts.py\n  python tools/list_parts.py SAMMaskDecoder\n'
        '  pip install --no-deps -e examples/my_dataset\n'
        '  python tools/list_parts.py --config examples/my_dataset/config.py',
    )
    parser.add_argument('name', nargs='?', help='only this part, with what each argument is')
    parser.add_argument('--config', help='also the plugins that its custom_imports registers, and the overlays beside it')
    parser.add_argument('--verbose', action='store_true', help='what each argument is')
    parser.add_argument('--all', action='store_true', help='also what mmengine and mmcv register')
    parser.add_argument('--json', action='store_true', help='as JSON')
    args = parser.parse_args()

    with answer_alone():
        from lisa_mm.apis.listing import list_parts, listing_text

        listing = list_parts(args.name, config=args.config, everything=args.all)
    print(
        json.dumps(listing, indent=1, default=str)
        if args.json
        else listing_text(listing, verbose=args.verbose or bool(args.name))
    )


if __name__ == '__main__':
    run_command(main)
