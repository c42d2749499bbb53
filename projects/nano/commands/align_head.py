"""Put a new language model under a mask decoder that is trained already: fit its seg head to the old model's prompts."""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/align_head.py configs/lisa/lisa_smollm2_composites.py work_dirs/lisa_emoji_pretrain'
        ' --out data/smollm2_aligned\n  python tools/align_head.py NEW_CONFIG work_dirs/OLD --out DIR --images 2000',
    )
    parser.add_argument('config', help='with the new language model')
    parser.add_argument('teacher', help='the old model: a work folder, or a config whose parts have files (before training)')
    parser.add_argument('--out', required=True, help='folder for seg_head.safetensors (and projector.safetensors)')
    parser.add_argument(
        '--images',
        type=int,
        default=800,
        help="of the teacher's training data, at least 10; a tenth is held out (default: %(default)s)",
    )
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the new config')
    parser.add_argument('--teacher-options', nargs='+', default=[], metavar='KEY=VALUE', help="change keys of the teacher's")
    args = parser.parse_args()

    from pathlib import Path

    from lisa_mm.apis.loading import resolve
    from lisa_mm.config import load_config
    from lisa_mm.engine.device import choose_device, describe_device

    from ..aligning import align_head

    print(describe_device(choose_device(args.device), 'float32'))
    teacher, checkpoint = resolve(args.teacher) if Path(args.teacher).is_dir() else (Path(args.teacher), None)
    result = align_head(
        load_config(args.config, (), args.cfg_options),
        load_config(teacher, (), args.teacher_options),
        checkpoint,
        args.out,
        images=args.images,
        device=args.device,
    )
    print(
        f'{result["prompts"]:,} prompts: the head explains {result["explained"]:.1%} of their variance, '
        f'{result["explained_held_out"]:.1%} on images held out'
    )
    print('train with it: ' + ' '.join(f'{key}={path}' for key, path in result['files'].items()))
