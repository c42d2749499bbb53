"""Serve a model over HTTP: docs/serve.md."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from lisa_mm.command import run_command
from lisa_mm.errors import UserError


def number(kind: type[int] | type[float], low: float) -> Callable[[str], float]:
    """A reader of numbers from ``low`` on."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not low <= value < float('inf'):
            raise argparse.ArgumentTypeError(f'{text!r} is no {"whole " if kind is int else ""}number from {low:g} on')
        return value

    return read


def parse() -> argparse.Namespace:
    """The arguments."""
    some, any_number, above_0 = number(int, 1), number(float, 0), number(float, 0.001)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/serve.py work_dirs/lisa_nano --port 8000',
    )
    parser.add_argument('model', nargs='+', metavar='FOLDER', help='FOLDER, or CONFIG CHECKPOINT')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0 for all (default: %(default)s)')
    parser.add_argument('--port', type=number(int, 0), default=8000, help='0 takes a free one (default: %(default)s)')
    parser.add_argument('--name', default=None, help="the model's name for clients (default: that of the folder)")
    parser.add_argument('--device', default=None, help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16 (default: %(default)s)')
    parser.add_argument(
        '--api-key', default=os.environ.get('LISA_MM_API_KEY'), help='clients must send it (default: LISA_MM_API_KEY)'
    )
    parser.add_argument('--allow-urls', action='store_true', help='fetch images by their http(s) address')
    parser.add_argument('--allow-private', action='store_true', help='fetch them from private networks too')
    parser.add_argument('--batch', type=some, default=16, help='questions answered at once, at most (default: %(default)s)')
    parser.add_argument('--wait-ms', type=any_number, default=10, help='time a question waits for others (default: %(default)s)')
    parser.add_argument('--remember', type=number(int, 0), default=8, help='encoded images that are kept (default: %(default)s)')
    parser.add_argument('--max-mb', type=above_0, default=20, help='size of a request in 10^6 bytes (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=above_0, default=40, help='size of an image (default: %(default)s)')
    parser.add_argument('--max-questions', type=some, default=16, help='of a request (default: %(default)s)')
    parser.add_argument('--max-prompt-tokens', type=some, default=4096, help='image and history included (default: %(default)s)')
    parser.add_argument('--max-new-tokens', type=some, default=512, help='what an answer may ask for (default: %(default)s)')
    parser.add_argument('--queue', type=some, default=256, help='questions in hand, of all clients (default: %(default)s)')
    parser.add_argument('--time-limit', type=above_0, default=60, help='seconds for a request (default: %(default)s)')
    parser.add_argument('--grace', type=any_number, default=30, help='seconds to finish after SIGTERM (default: %(default)s)')
    args = parser.parse_args()
    if len(args.model) > 2:
        parser.error(f'{len(args.model)} words; give FOLDER, or CONFIG CHECKPOINT')
    if args.allow_private and not args.allow_urls:
        parser.error('--allow-private has no effect without --allow-urls')
    if args.api_key is not None and not args.api_key.strip():
        parser.error('the key is empty; give one, or leave --api-key and LISA_MM_API_KEY out')
    if args.api_key is not None and not re.fullmatch('[!-~]+', args.api_key):
        parser.error('the key holds a space or a character outside ASCII, which a header cannot; give another')
    return args


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def name_of(model: Path) -> str:
    """The name of a folder, or of a config."""
    path = model.resolve()
    return path.stem if path.suffix == '.py' else path.name


def main() -> None:
    args = parse()
    try:
        from lisa_mm.serving.running import serve
    except ModuleNotFoundError as error:
        raise UserError(f"the server needs {error.name}: pip install 'lisa_mm[serve]'") from error
    from lisa_mm.apis.inferencer import LISAInferencer
    from lisa_mm.apis.loading import prepare_model, resolve
    from lisa_mm.datasets.images import MAX_PIXELS
    from lisa_mm.engine.device import describe_device
    from lisa_mm.serving.limits import Limits
    from lisa_mm.serving.service import Service, Settings

    ready = prepare_model(*resolve(*args.model), device=args.device, dtype=args.dtype)
    print(describe_device(ready.device, args.dtype), file=sys.stderr)
    if args.api_key is None and not is_local(args.host):
        print(f'no key is set: whoever reaches {args.host}:{args.port} may ask', file=sys.stderr)
    limits = Limits(
        body_bytes=int(args.max_mb * 1e6),
        pixels=int(args.max_megapixels * 1e6),
        questions=args.max_questions,
        prompt_tokens=args.max_prompt_tokens,
        new_tokens=args.max_new_tokens,
        in_hand=args.queue,
        seconds=args.time_limit,
    )
    if limits.pixels > MAX_PIXELS:
        raise UserError(f'--max-megapixels is {args.max_megapixels:g}; images of at most {MAX_PIXELS / 1e6:.0f} are read.')
    settings = Settings(
        name=args.name or name_of(Path(args.model[0])),
        limits=limits,
        batch_size=args.batch,
        wait=args.wait_ms / 1000,
        key=args.api_key,
        allow_urls=args.allow_urls,
        allow_private=args.allow_private,
    )
    service = Service(lambda: LISAInferencer(ready, remember=args.remember, show_progress=False), settings)
    serve(service, host=args.host, port=args.port, grace=args.grace)


if __name__ == '__main__':
    run_command(main)
