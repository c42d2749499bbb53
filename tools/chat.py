"""Talk about an image in the terminal: answers stream, each [SEG] in the colour of its mask, and masks are written as files."""

from __future__ import annotations

import argparse
import sys

from lisa_mm.command import answer_alone, run_command

EXAMPLES = """examples:
  python tools/chat.py lisa_nano lisa_mm/weights/lisa_nano/example.jpg
  echo "the purple clock" | python tools/chat.py lisa_nano lisa_mm/weights/lisa_nano/example.jpg
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    add = parser.add_argument
    add('folder', help='a work folder of training, an imported model, or lisa_nano, the model of the package')
    add('image', nargs='?', help='a file or an http(s) address; /image takes another one')
    add('--out', default='answers', help='each session writes into a new folder in it (default: %(default)s)')
    add('--pictures', default='auto', help="auto (the terminal's own pictures, or half blocks), blocks or none (default: auto)")
    add('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    add('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    args = parser.parse_args()

    with answer_alone():
        from lisa_mm.chat.terminal import chat

    faults = chat(args.folder, args.image, out=args.out, pictures=args.pictures, device=args.device, dtype=args.dtype)
    sys.exit(1 if faults and not sys.stdin.isatty() else 0)


if __name__ == '__main__':
    run_command(main)
