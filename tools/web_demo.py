"""Ask models in a browser: answers with masks, one model or several side by side."""

from __future__ import annotations

import argparse

from lisa_mm.command import run_command


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is no number above 0')
    return number


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 1 on')
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/web_demo.py work_dirs/lisa_nano',
    )
    parser.add_argument('folders', nargs='+', metavar='FOLDER', help='work folder or exported folder; several stand side by side')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 for all networks (default: %(default)s)'
    )
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one (default: %(default)s)')
    parser.add_argument('--max-upload-mb', type=positive, default=20, help='of an image file (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=positive, default=50, help='of an image (default: %(default)s)')
    parser.add_argument('--concurrency', type=count, default=1, help='questions answered at once (default: %(default)s)')
    parser.add_argument('--queue', type=count, default=20, help='questions that may wait (default: %(default)s)')
    parser.add_argument('--memory-mb', type=positive, default=2000, help='of all conversations (default: %(default)s)')
    parser.add_argument('--max-new-tokens', type=count, default=64, help='of an answer (default: %(default)s)')
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    args = parser.parse_args()

    from lisa_mm.errors import UserError

    try:
        from lisa_mm.demo.serving import serve
    except ModuleNotFoundError as error:
        if error.name not in ('gradio', 'uvicorn', 'fastapi', 'starlette'):
            raise
        raise UserError(f"{error.name} is not installed. Install it: pip install 'lisa_mm[demo]'") from error
    from lisa_mm.demo.limits import Limits

    limits = Limits(args.max_upload_mb, args.max_megapixels, args.concurrency, args.queue, args.memory_mb, args.max_new_tokens)
    serve(args.folders, host=args.host, port=args.port, limits=limits, device=args.device, dtype=args.dtype)


if __name__ == '__main__':
    run_command(main)
