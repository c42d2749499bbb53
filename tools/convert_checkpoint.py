"""Bring a published checkpoint in, or send a model out."""

from __future__ import annotations

import argparse

from lisa_mm.command import run_command

EXAMPLES = """examples:
  python tools/convert_checkpoint.py import LISA-7B-v1 models/lisa_7b --clip clip-vit-large-patch14
  python tools/convert_checkpoint.py import llava-v1.5-7b models/start --clip clip-vit-large-patch14 --sam sam_vit_h_4b8939.pth
  python tools/convert_checkpoint.py import pytorch_model.bin models/mine --llm LLaVA-Lightning-7B-v1-1 \\
      --clip clip-vit-large-patch14 --lora-alpha 16
  python tools/convert_checkpoint.py export work_dirs/lisa_7b_mix LISA-mine --dtype bfloat16
  python tools/convert_checkpoint.py export work_dirs/lisa_nano models/lisa_nano --format folder"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    commands = parser.add_subparsers(dest='command', required=True, metavar='import|export')
    add_import(commands.add_parser('import', help='a published checkpoint -> one folder that every tool takes'))
    add_export(commands.add_parser('export', help='a trained or imported model -> the published layout, or one folder'))
    args = parser.parse_args()
    run_import(args) if args.command == 'import' else run_export(args)


def add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='LISA or LLaVA folder, SAM .pth, CLIP folder, training state of zero_to_fp32')
    parser.add_argument('target', help='folder to write; must not exist')
    parser.add_argument('--clip', metavar='FOLDER', help='CLIP folder; not in a LISA or LLaVA folder')
    parser.add_argument('--sam', metavar='FILE', help='SAM checkpoint to go beside a LLaVA folder')
    parser.add_argument('--llm', metavar='FOLDER', help='LLaVA folder that a training state began with')
    parser.add_argument('--template', default='llava_v1', help='conversation template; in no file (default: %(default)s)')
    parser.add_argument('--lora-alpha', type=float, help='of a training state; in no file')
    parser.add_argument('--lora-r', type=int, help='the rank that a training state must have (default: as its tensors)')
    parser.add_argument('--decoder-heads', type=int, default=8, help="of SAM's mask decoder; in no file (default: %(default)s)")
    parser.add_argument('--max-shard-size', default='5GB')
    parser.add_argument('--data-root', default='dataset', help="for the folder's config (default: %(default)s)")
    parser.add_argument('--table', action='store_true', help='print a line for every tensor (tensors.txt holds it too)')


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='a folder of ours, a work folder or checkpoint of training, or a config')
    parser.add_argument('target', help='folder to write; must not exist')
    parser.add_argument('--checkpoint', help='after a config')
    parser.add_argument('--format', default='lisa', choices=['lisa', 'folder'], help='published layout, or our own folder')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], help='(default: as the tensors are)')
    parser.add_argument('--max-shard-size', default='10GB')
    parser.add_argument('--vision-tower-name', metavar='NAME', help='what config.json of the published layout names')


def run_import(args: argparse.Namespace) -> None:
    from lisa_mm.checkpoints.importing import import_checkpoint

    table = import_checkpoint(
        args.source,
        args.target,
        clip=args.clip,
        sam=args.sam,
        llm=args.llm,
        template=args.template,
        lora_alpha=args.lora_alpha,
        lora_rank=args.lora_r,
        decoder_heads=args.decoder_heads,
        max_shard_size=args.max_shard_size,
        data_root=args.data_root,
    )
    print(table.text() if args.table else table.summary())
    print(f'written: {args.target}. Next: python tools/infer.py {args.target} IMAGE "QUESTION", or load_from={args.target}')


def run_export(args: argparse.Namespace) -> None:
    from lisa_mm.checkpoints.exporting import export_checkpoint

    export_checkpoint(
        args.source,
        args.target,
        checkpoint=args.checkpoint,
        layout=args.format,
        dtype=args.dtype,
        max_shard_size=args.max_shard_size,
        vision_tower_name=args.vision_tower_name,
    )
    print(f'written: {args.target}')


if __name__ == '__main__':
    run_command(main)
