"""Ask images questions: an answer, its masks and an overlay for each.

One image (a file or an http(s) address) prints its answer. A folder of images, with its subfolders, or a jsonl of questions
writes answers.jsonl with pictures beside it into --out; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lisa_mm.command import answer_alone, run_command

WORDS = """
  FOLDER IMAGE QUESTION
  FOLDER IMAGES QUESTION       a folder of images
  FOLDER QUESTIONS.jsonl       rows {"image": "a.jpg", "question" or "phrase": "...", and optionally raw, seed, history, id}
FOLDER is a work folder of training, an imported model or lisa_nano, the model of the package; CONFIG CHECKPOINT may stand in
its place
"""
EXAMPLES = """examples:
  python tools/infer.py lisa_nano lisa_mm/weights/lisa_nano/example.jpg "the purple clock"
  python tools/infer.py lisa_nano data/demo/reason_seg/ReasonSeg/test "the red ball" --out answers_test --limit 20
  python tools/infer.py lisa_nano questions.jsonl --out labels --to labelme
"""
QUESTION_FILES = ('.jsonl', '.json')


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 1 on')
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f'words:{WORDS}\n{EXAMPLES}'
    )
    add = parser.add_argument
    add('words', nargs='+', metavar='WORDS', help='the model, the images and the question, see below')
    add('--out', default='answers', help='folder of the answers (default: %(default)s)')
    add('--raw', action='store_true', help="ask as it is written; otherwise it is put into the recipe's strings")
    add('--max-new-tokens', type=positive, default=64, help='of the answer, at most (default: %(default)s)')
    add('--force-seg', action='store_true', help='the answer holds a mask')
    add('--no-text', action='store_true', help='the answer is a mask alone')
    add('--temperature', type=float, default=0.0, help='0 takes the likeliest token, more draws more freely (default: 0)')
    add('--top-p', type=float, default=1.0, help='draw from the likeliest tokens of this probability together (default: 1)')
    add('--top-k', type=int, default=0, help='draw from this many of the likeliest tokens; 0: all (default)')
    add('--seed', type=int, default=0, help='of the draws (default: %(default)s)')
    add('--batch-size', type=positive, default=8, help='questions answered at once (default: %(default)s)')
    add('--limit', type=positive, default=None, metavar='N', help='answer N questions at most; the next call goes on')
    add('--to', metavar='KIND', help='of many images: labels for correction in OUT/KIND: coco, labelme, reasonseg or jsonl')
    add('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    add('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    args = parser.parse_args()

    *model, images = args.words
    question = None
    # after a config comes its checkpoint; after a folder, an image, and then a question of any ending
    if (
        Path(images).suffix not in QUESTION_FILES
        or len(model) not in (1, 2)
        or (len(model) == 2 and not Path(model[0]).is_file())
    ):
        *model, images, question = ['', *args.words] if len(args.words) < 2 else args.words
    if len(model) not in (1, 2) or (len(model) == 2 and Path(model[0]).is_dir()):
        parser.error(
            f'{len(args.words)} words; give FOLDER IMAGE QUESTION, FOLDER IMAGES QUESTION or FOLDER QUESTIONS.jsonl (or CONFIG '
            'CHECKPOINT in place of FOLDER), with the question in quotes'
        )
    is_many = question is None or Path(images).is_dir()
    for option, value in (('--to', args.to), ('--limit', args.limit)):
        if value is not None and not is_many:
            parser.error(f'{option} is for a folder of images or a jsonl of questions; {images} is one image')

    with answer_alone():
        from lisa_mm.apis.answering import answer_many, answer_one
        from lisa_mm.apis.folder_run import print_report
        from lisa_mm.models.decoding import AnswerOptions

        target, checkpoint = [*model, None][:2]
        options = AnswerOptions(
            args.max_new_tokens, args.force_seg, args.no_text, args.temperature, args.top_p, args.top_k, args.seed
        )
        place = {'raw': args.raw, 'device': args.device, 'dtype': args.dtype}
        report = answer = None
        files: list[Path] = []
        if question is None or is_many:
            more = {'batch_size': args.batch_size, 'limit': args.limit, 'labels': args.to}
            report = answer_many(target, checkpoint, images, question, args.out, options=options, **more, **place)
        else:
            answer, files = answer_one(target, checkpoint, images, question, args.out, options=options, **place)
    if report is not None:
        print_report(report, Path(args.out))
        sys.exit(1 if report.faults else 0)
    assert answer is not None
    if answer.asked != question:
        print(f'asked: {answer.asked}')
    print(answer.text)
    if answer.hint:
        print(answer.hint.replace('force_seg=True', '--force-seg'))
    if answer.cut:
        print(f'cut at {args.max_new_tokens} tokens; --max-new-tokens allows more', file=sys.stderr)
    for path in files:
        print(path)


if __name__ == '__main__':
    run_command(main)
