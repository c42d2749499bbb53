"""Ask an image a question: an answer, its masks and an overlay."""

from __future__ import annotations

import argparse
import sys

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/infer.py work_dirs/lisa_nano data/demo/reason_seg/ReasonSeg/test/test_0000.jpg '
        '"What could roll away? Please output segmentation mask."',
    )
    parser.add_argument('words', nargs='+', metavar='WORD', help='FOLDER IMAGE QUESTION, or CONFIG CHECKPOINT IMAGE QUESTION')
    parser.add_argument('--out', default='answers', help='folder of masks and overlay (default: %(default)s)')
    parser.add_argument('--max-new-tokens', type=int, default=64, help='of the answer, at most (default: %(default)s)')
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    args = parser.parse_args()
    if len(args.words) not in (3, 4):
        parser.error('give FOLDER IMAGE QUESTION, or CONFIG CHECKPOINT IMAGE QUESTION')

    from lisa_mm.apis.inferencer import LISAInferencer, save_answer
    from lisa_mm.engine.device import describe_device

    *where, image, question = args.words
    inferencer = LISAInferencer(*where, device=args.device, dtype=args.dtype)
    print(describe_device(inferencer.device, args.dtype), file=sys.stderr)
    answer = inferencer(image, question, max_new_tokens=args.max_new_tokens)
    print(answer.text)
    if not len(answer.masks):
        print('(no [SEG] in the answer: no mask)')
    for path in save_answer(answer, image, args.out, load=inferencer.load):
        print(path)


if __name__ == '__main__':
    run_command(main)
