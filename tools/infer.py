"""Ask an image a question: an answer, its masks and an overlay."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lisa_mm.command import run_command


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 1 on')
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/infer.py work_dirs/lisa_nano data/demo/reason_seg/ReasonSeg/test/test_0000.jpg '
        '"What could roll away? Please output segmentation mask."',
    )
    parser.add_argument('words', nargs='+', metavar='WORD', help='FOLDER IMAGE QUESTION, or CONFIG CHECKPOINT IMAGE QUESTION')
    parser.add_argument('--out', default='answers', help='folder of masks and overlay (default: %(default)s)')
    parser.add_argument('--max-new-tokens', type=positive, default=64, help='of the answer, at most (default: %(default)s)')
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    args = parser.parse_args()
    if len(args.words) not in (3, 4) or (len(args.words) == 4 and Path(args.words[0]).is_dir()):
        parser.error(
            f'{len(args.words)} words; give FOLDER IMAGE QUESTION, or CONFIG CHECKPOINT IMAGE QUESTION, with one image, and the '
            'question in quotes'
        )

    from lisa_mm.apis.asking import prepare_request
    from lisa_mm.apis.inferencer import LISAInferencer
    from lisa_mm.apis.saving import save_answer
    from lisa_mm.engine.device import describe_device

    target, *given, image, question = args.words
    checkpoint = given[0] if given else None
    limit = args.max_new_tokens
    ready = prepare_request(
        target, checkpoint, image, question, args.out, max_new_tokens=limit, device=args.device, dtype=args.dtype
    )
    inferencer = LISAInferencer(ready)
    print(describe_device(inferencer.device, args.dtype), file=sys.stderr)
    answer = inferencer(image, question, max_new_tokens=limit)
    print(answer.text)
    if not len(answer.masks):
        print(answer.hint)
    for path in save_answer(answer, args.out):
        print(path)


if __name__ == '__main__':
    run_command(main)
