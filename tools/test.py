"""Evaluate a checkpoint: a table, and one RESULT line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/test.py work_dirs/lisa_nano --controls\n'
        '  torchrun --nproc_per_node=8 tools/test.py work_dirs/lisa_7b  # the processes share the data\n'
        '  python tools/test.py configs/lisa/lisa_nano.py work_dirs/lisa_nano/iter_900 --out scores.json',
    )
    parser.add_argument('target', help='a config, or a work folder alone')
    parser.add_argument('checkpoint', nargs='?', help='a checkpoint or work folder; needed after a config')
    parser.add_argument('--out', help='write every metric, mask by mask, to this json')
    parser.add_argument('--split', default='test', choices=['val', 'test'], help='which dataloader of the config')
    parser.add_argument('--controls', action='store_true', help='also score an empty mask, the union, another question')
    parser.add_argument(
        '--answers',
        default='given',
        choices=['given', 'generated'],
        help='whether the prompt holds the answer with its [SEG], as published, or the model says it (default: %(default)s)',
    )
    parser.add_argument('--initial', action='store_true', help='evaluate a config before training, without a checkpoint')
    parser.add_argument('--work-dir', help='for log and pictures (default: test below the work folder or work_dirs/NAME)')
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the config')
    args = parser.parse_args()

    from lisa_mm.apis.asking import check_file_to_write
    from lisa_mm.apis.loading import resolve
    from lisa_mm.apis.testing import evaluate, result_line, table
    from lisa_mm.checkpoints.folder import list_checkpoints
    from lisa_mm.config import load_config
    from lisa_mm.engine.device import choose_device, describe_device

    if args.initial and args.checkpoint:
        parser.error('--initial evaluates a config without a checkpoint: leave one of them out')
    if args.out:
        check_file_to_write(args.out)
    config, checkpoint = (args.target, None) if args.initial else resolve(args.target, args.checkpoint)
    source = load_config(config, (), args.cfg_options)
    target = Path(args.target)
    folder = (
        args.work_dir or (target if target.is_dir() and list_checkpoints(target) else Path('work_dirs') / target.stem) / 'test'
    )
    settings = {'split': args.split, 'controls': args.controls, 'answers': args.answers}
    result = evaluate(source, checkpoint, work_dir=folder, device=args.device, dtype=args.dtype, **settings)
    if 'per_mask' not in result:  # the first process has all of it
        return
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1), encoding='utf-8')
    device = describe_device(choose_device(args.device), args.dtype)
    print(f'checkpoint {checkpoint or "none: before training"}, {device}')
    print(table(result))
    for picture in sorted(Path(folder).glob('pictures/*.png')):
        print(f'pictures   {picture}')
    print(result_line(result))


if __name__ == '__main__':
    run_command(main)
