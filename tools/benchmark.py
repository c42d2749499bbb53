"""Measure speed and memory."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lisa_mm.apis import benchmark_data, benchmark_memory
from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n  python tools/benchmark.py data\n  python tools/benchmark.py memory\n'
        '  python tools/benchmark.py import-memory --size 3GB --shard 500MB',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    benchmark_data.add_parser(commands)
    benchmark_memory.add_parser(commands)
    memory = commands.add_parser('import-memory', help='peak memory of importing a made-up checkpoint')
    memory.add_argument('--size', default='3GB', help='of the checkpoint; twice as much disk is needed (default: %(default)s)')
    memory.add_argument('--shard', default='500MB', help='largest shard (default: %(default)s)')
    memory.add_argument('--dir', help='where the temporary folder is made')
    memory.set_defaults(run=import_memory)
    args = parser.parse_args()
    args.run(args)


def import_memory(args: argparse.Namespace) -> None:
    from lisa_mm.checkpoints.memory_probe import measure_import
    from lisa_mm.checkpoints.safetensors_writer import parse_size

    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        sizes = measure_import(Path(folder), total_bytes=parse_size(args.size), shard_bytes=parse_size(args.shard))
    for name, value in sizes.items():
        print(f'{name.replace("_", " "):16s} {value / 1e6:9.1f} MB')
    import_alone = sizes['peak'] - sizes['imports']
    limit = 1.3 * sizes['largest_shard'] + sizes['largest_tensor']
    print(f'the import adds  {import_alone / 1e6:9.1f} MB to the program (wanted: below {limit / 1e6:.1f} MB)')


if __name__ == '__main__':
    run_command(main)
