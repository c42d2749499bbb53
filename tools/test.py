"""Evaluate a checkpoint on the config's test data, or on benchmarks: tables, files, and one RESULT line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/test.py work_dirs/lisa_nano --controls\n'
        '  python tools/test.py work_dirs/lisa_nano --benchmarks reasonseg grefcoco --answers given generated --out scores\n'
        '  python tools/test.py --predictions masks.json --benchmarks refcoco:val --cfg-options data_root=data/lisa\n'
        '  torchrun --nproc_per_node=8 tools/test.py work_dirs/lisa_7b  # the processes share the data\n'
        '  python tools/test.py configs/lisa/lisa_nano.py work_dirs/lisa_nano/iter_900 --out scores.json',
    )
    parser.add_argument('target', nargs='?', help='a config, or a work folder alone; left out with --predictions')
    parser.add_argument('checkpoint', nargs='?', help='a checkpoint or work folder; needed after a config')
    parser.add_argument(
        '--benchmarks',
        nargs='+',
        default=[],
        metavar='NAME',
        help='files of configs/_base_/benchmarks, such as reasonseg, or refcoco:testA for one split (default: the data '
        'of the config)',
    )
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='a .json gets every metric; any other path is a folder for results.json, report.html and the judged questions with '
        'their masks, where a second call goes on (default with --benchmarks: benchmarks below --work-dir)',
    )
    parser.add_argument(
        '--predictions',
        metavar='PATH',
        help='score masks made elsewhere on one split of a benchmark, without a model: COCO results, a folder of PNGs, '
        'output of Seg-Zero (docs/score_predictions.md)',
    )
    parser.add_argument('--split', default='test', choices=['val', 'test'], help="which of the config's data loaders")
    parser.add_argument('--controls', action='store_true', help='also score an empty mask, the union, another question')
    parser.add_argument(
        '--answers',
        nargs='+',
        default=['given'],
        choices=['given', 'generated'],
        help='whether the prompt holds the answer with its [SEG], as published, or the model says it; both for benchmarks '
        '(default: given)',
    )
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N records of each benchmark; the result says so')
    parser.add_argument('--batch-size', type=int, metavar='N', help="images of a benchmark's batch (default: the config's)")
    parser.add_argument('--max-new-tokens', type=int, default=512, metavar='N', help='of an answer (default: %(default)s)')
    parser.add_argument('--initial', action='store_true', help='evaluate a config before training, without a checkpoint')
    parser.add_argument('--work-dir', help='for log and pictures (default: test below the work folder or work_dirs/NAME)')
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the config')
    args = parser.parse_args()

    from lisa_mm.apis.asking import check_file_to_write
    from lisa_mm.apis.loading import resolve
    from lisa_mm.checkpoints.folder import list_checkpoints
    from lisa_mm.config import load_config

    if args.predictions:
        on_predictions(args, parser)
        return
    if not args.target:
        parser.error('give a config and a checkpoint, or one work folder')
    if args.initial and args.checkpoint:
        parser.error('--initial evaluates a config without a checkpoint: leave one of them out')
    to_folder = bool(args.benchmarks) or bool(args.out and Path(args.out).suffix != '.json')
    if to_folder and (args.controls or args.split != 'test'):
        parser.error("--controls and --split belong to the config's own data: give --out FILE.json, and no --benchmarks")
    if not to_folder and (len(args.answers) > 1 or args.limit or args.batch_size):
        parser.error('several --answers, --limit and --batch-size belong to --benchmarks or --out FOLDER')
    if args.out and Path(args.out).suffix == '.json':
        check_file_to_write(args.out)
    config, checkpoint = (args.target, None) if args.initial else resolve(args.target, args.checkpoint)
    source = load_config(config, (), args.cfg_options)
    target = Path(args.target)
    beside = target if target.is_dir() and list_checkpoints(target) else Path('work_dirs') / target.stem
    folder = Path(args.work_dir or beside / 'test')
    if to_folder:
        on_benchmarks(args, source, checkpoint, folder)
    else:
        on_own_data(args, source, checkpoint, folder)


def on_benchmarks(args: argparse.Namespace, source: Any, checkpoint: Path | None, folder: Path) -> None:
    """Evaluate on benchmarks, or on the config's test data with all files."""
    from mmengine.dist import get_rank

    from lisa_mm.apis.benchmarking import Settings, run_benchmarks
    from lisa_mm.apis.scores import result_line_of, scores_table

    is_file = bool(args.out and Path(args.out).suffix == '.json')
    out = folder / 'benchmarks' if is_file or not args.out else Path(args.out)
    settings = Settings(tuple(args.answers), args.limit, args.batch_size, args.max_new_tokens)
    results = run_benchmarks(
        source, checkpoint, args.benchmarks, out=out, settings=settings, device=args.device, dtype=args.dtype
    )
    if get_rank() != 0:
        return
    if is_file:
        Path(args.out).write_text(results.model_dump_json(indent=1), encoding='utf-8')
    print(scores_table(results))
    print(f'files      {out}')
    print(result_line_of(results, args.benchmarks))


def on_predictions(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Score predictions made elsewhere."""
    from lisa_mm.apis.scores import result_line_of, scores_table
    from lisa_mm.apis.scoring import score_predictions

    root = next((given.partition('=')[2] for given in args.cfg_options if given.startswith('data_root=')), None)
    if args.target or len(args.benchmarks) != 1 or root is None or len(args.cfg_options) != 1:
        parser.error('--predictions PATH takes one --benchmarks NAME:SPLIT and --cfg-options data_root=DIR, and no model')
    is_file = bool(args.out and Path(args.out).suffix == '.json')
    results = score_predictions(args.predictions, args.benchmarks[0], data_root=root, out=None if is_file else args.out)
    if is_file:
        Path(args.out).write_text(results.model_dump_json(indent=1), encoding='utf-8')
    print(scores_table(results))
    if args.out:
        print(f'files      {args.out}')
    print(result_line_of(results, args.benchmarks))


def on_own_data(args: argparse.Namespace, source: Any, checkpoint: Path | None, folder: Path) -> None:
    """Evaluate on the config's test or validation data."""
    from lisa_mm.apis.testing import evaluate, result_line, table
    from lisa_mm.engine.device import choose_device, describe_device

    settings = {'split': args.split, 'controls': args.controls, 'answers': args.answers[0]}
    result = evaluate(source, checkpoint, work_dir=folder, device=args.device, dtype=args.dtype, **settings)
    if 'per_mask' not in result:  # the first process has all of it
        return
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1), encoding='utf-8')
    device = describe_device(choose_device(args.device), args.dtype)
    print(f'checkpoint {checkpoint or "none: before training"}, {device}')
    print(table(result))
    for picture in sorted(folder.glob('pictures/*.png')):
        print(f'pictures   {picture}')
    print(result_line(result))


if __name__ == '__main__':
    run_command(main)
