"""Write the parts of a model trained without LoRA as files that a config's `pretrained` reads."""

from __future__ import annotations

import argparse

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/export_parts.py work_dirs/lisa_nano_pretrain lisa_mm/weights/nano\n'
        'A model with LoRA is exported as one folder, for load_from:\n'
        '  python tools/convert_checkpoint.py export work_dirs/lisa_nano models/lisa_nano --format folder',
    )
    parser.add_argument('target', help='a work folder of training without LoRA, such as that of lisa_nano_pretrain')
    parser.add_argument('folder', help='gets language_model/, vision_tower/ and three safetensors files')
    args = parser.parse_args()

    from lisa_mm.apis.loading import load_model, resolve
    from lisa_mm.checkpoints.parts import export_parts

    model, _ = load_model(*resolve(args.target))
    counts = export_parts(model, args.folder)
    for name, count in counts.items():
        print(f'{name:16s} {count:>12,d} parameters')
    print(f'{"all":16s} {sum(counts.values()):>12,d} parameters in {args.folder}. Name them as pretrained=... in a config.')


if __name__ == '__main__':
    run_command(main)
