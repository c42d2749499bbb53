"""The data doctor: check data, measure and look at what a training gets, convert it, encode its images ahead of training."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lisa_mm.command import answer_alone, run_command

EXAMPLES = """examples:
  python tools/data.py check configs/lisa/lisa_nano_mix.py --cfg-options data_root=DIR
  python tools/data.py stats configs/lisa/lisa_nano_mix.py --out stats.png --items 2000
  python tools/data.py preview configs/lisa/lisa_nano_mix.py --out sheet.png --split train
  python tools/data.py convert configs/lisa/lisa_nano_mix.py --split val --out my/val.jsonl
  python tools/data.py cache configs/lisa/lisa_nano_mix.py --cfg-options data_root=DIR --folder features
  python tools/data.py import my/_annotations.coco.json --out my/train.jsonl"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    commands = parser.add_subparsers(dest='command', required=True)
    helps = {
        'check': 'every fault of every data set of the config in one pass; exit status 1 if there is an error',
        'stats': 'the sampled mixture against the asked one, tokens a row, masks an image, mask areas',
        'preview': 'a PNG of samples with masks and the exact conversation; what carries loss stands in «»',
        'convert': 'a data set of the config as a jsonl in the simple schema',
        'cache': 'features of the frozen encoders on disk, for cache_features in training: says first what it takes',
        'import': 'an export of COCO (Roboflow, CVAT), VIA, labelme (a folder) or Sa2VA as a jsonl in the simple schema',
    }
    for name, text in helps.items():
        example = next(line for line in EXAMPLES.splitlines() if f'data.py {name}' in line)
        command = commands.add_parser(
            name, help=text, description=text, epilog=f'example:\n{example}', formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == 'import':
            command.add_argument('source', help='the json; for labelme, its folder')
            command.add_argument('--out', required=True, help='the jsonl to write')
            command.add_argument('--images', help="folder that the paths of images begin at (default: the source's)")
            command.add_argument('--attribute', help='VIA: the region attribute that holds the phrase')
            command.add_argument('--encoding', help='of the source, a name that Python knows (default: UTF-8, or by its mark)')
            continue
        command.add_argument('config')
        command.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the config')
        if name == 'check':
            command.add_argument('--json', action='store_true', help='the findings as json')
            command.add_argument('--no-images', action='store_true', help='do not decode images and masks')
            command.add_argument('--workers', type=int, default=4, help='threads that decode')
        elif name == 'cache':
            command.add_argument('--folder', help='of the features (default: that of cache_features in the config)')
            command.add_argument('--dtype', help="float32, bfloat16 or float16 (default: the config's, or as the encoder gives)")
            command.add_argument('--max-gib', type=float, help="limit of the folder (default: the config's, or 100)")
            command.add_argument('--splits', nargs='+', default=['train', 'val'], choices=['train', 'val', 'test'])
            command.add_argument('--batch-size', type=int, default=4, help='images at once (default: %(default)s)')
            command.add_argument('--workers', type=int, default=2, help='processes that decode (default: %(default)s)')
            command.add_argument('--device', help="of the encoders (default: 'cuda' if there is one)")
        else:
            command.add_argument('--split', default='train', choices=['train', 'val', 'test'])
        if name == 'stats':
            command.add_argument('--items', type=int, default=500, help='draws')
            command.add_argument('--json', action='store_true')
            command.add_argument('--out', help='a PNG with plots')
        if name == 'preview':
            command.add_argument('--items', type=int, default=8)
            command.add_argument('--start', type=int, default=0, help='the first item')
        if name in ('preview', 'convert'):
            command.add_argument('--out', required=True)
        if name == 'convert':
            command.add_argument('--number', type=int, default=0, help='which data set of the split, from 0')
    args = parser.parse_args()
    run = {
        'check': run_check,
        'stats': run_stats,
        'preview': run_preview,
        'convert': run_convert,
        'cache': run_cache,
        'import': run_import,
    }[args.command]
    with answer_alone():
        answer, status = run(args)
    print(answer)
    sys.exit(status)


def run_check(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.config import load_config
    from lisa_mm.doctor import check

    findings = check(load_config(args.config, options=args.cfg_options), images=not args.no_images, workers=args.workers)
    errors = sum(finding.level == 'error' for finding in findings)
    if args.json:
        answer = json.dumps({'errors': errors, 'findings': [finding.as_dict() for finding in findings]}, indent=1)
    else:
        lines = [f'{finding.level}: {finding.dataset}: {finding.problem}' for finding in findings]
        answer = '\n'.join([*lines, f'{errors} errors, {len(findings) - errors} notes'])
    return answer, int(errors > 0)


def run_stats(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.doctor import measure, plot
    from lisa_mm.doctor.sets import compiled_dataset
    from lisa_mm.doctor.stats import describe

    result = measure(*compiled_dataset(args.config, args.cfg_options, args.split), args.items)
    if args.out:
        print(f'plots: {plot(result, args.out)}', file=sys.stderr)
    return json.dumps(result) if args.json else describe(result), 0


def run_preview(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.doctor import preview
    from lisa_mm.doctor.sets import compiled_dataset

    dataset, encoder = compiled_dataset(args.config, args.cfg_options, args.split)
    return str(preview(dataset, encoder, args.out, count=args.items, start=args.start)), 0


def run_convert(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.config import load_config
    from lisa_mm.doctor import convert
    from lisa_mm.doctor.sets import dataset_configs
    from lisa_mm.errors import ConfigError

    entries = [
        entry for split, entry in dataset_configs(load_config(args.config, options=args.cfg_options)) if split == args.split
    ]
    if args.number >= len(entries):
        raise ConfigError(f'--number {args.number}: {args.split} has {len(entries)} data sets, numbered from 0.')
    return f'{convert(entries[args.number], Path(args.out))} rows: {args.out}', 0


def run_cache(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.apis.caching import fill_cache

    given = {'folder': args.folder, 'dtype': args.dtype, 'max_gib': args.max_gib}
    filled = fill_cache(
        args.config,
        options=args.cfg_options,
        splits=args.splits,
        settings={key: value for key, value in given.items() if value is not None},
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device,
        say=lambda line: print(line, file=sys.stderr),
    )
    return f'{filled.made} images encoded, {filled.there} were there: {filled.folder}', 0


def run_import(args: argparse.Namespace) -> tuple[str, int]:
    from lisa_mm.datasets.encodings import check_encoding
    from lisa_mm.doctor import import_annotations
    from lisa_mm.errors import ConfigError

    if faults := check_encoding(args.encoding, '--encoding'):
        raise ConfigError(faults)
    images = Path(args.images) if args.images else None
    count, notes = import_annotations(
        Path(args.source), Path(args.out), images=images, attribute=args.attribute, encoding=args.encoding
    )
    lines = [f'note: {note} ({times})' for note, times in notes.items()]
    return '\n'.join([*lines, f'{count} rows: {args.out}. Objects of one image with the same name are one row.']), 0


if __name__ == '__main__':
    run_command(main)
