"""Check a config in seconds: no weights, no data and no GPU are needed; all faults come at once."""

from __future__ import annotations

import argparse
import json
import sys

from lisa_mm.command import answer_alone, run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/check_config.py configs/lisa/lisa_7b_mix.py\n'
        '  python tools/check_config.py configs/lisa/lisa_7b_mix.py --gpus 8 --gpu-memory 24',
    )
    parser.add_argument('config')
    parser.add_argument('--json', action='store_true', help='the report as JSON')
    parser.add_argument('--swap', nargs='+', default=[], metavar='PART=NAME', help='take a whole part from configs/_base_')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the config')
    parser.add_argument('--gpus', type=int, metavar='N', help='calculate the memory of each of N GPUs')
    parser.add_argument(
        '--gpu-memory', type=float, metavar='GIB', help='of one GPU: whether the training fits, and what would make it fit'
    )
    args = parser.parse_args()

    with answer_alone():
        from lisa_mm.apis.checking import check_config, report_text

        report = check_config(args.config, args.swap, args.cfg_options, gpus=args.gpus, gpu_memory=args.gpu_memory)
    print(json.dumps(report, indent=1) if args.json else report_text(report))
    if not report['ok']:
        sys.exit(1)


if __name__ == '__main__':
    run_command(main)
