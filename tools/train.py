"""Train from a config; started alike by python, torchrun, deepspeed and srun."""

from __future__ import annotations

import argparse

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/train.py configs/lisa/lisa_nano.py --cfg-options train_cfg.max_iters=100\n'
        '  deepspeed --master_port=24999 tools/train.py configs/lisa/lisa_nano.py',
    )
    parser.add_argument('config', help='a config file')
    parser.add_argument('--work-dir', help='logs and checkpoints (default: work_dirs/NAME)')
    parser.add_argument(
        '--resume', nargs='?', const=True, default=False, metavar='CKPT', help='go on from the last checkpoint, or CKPT'
    )
    parser.add_argument('--launcher', default='auto', choices=['auto', 'none', 'pytorch', 'mpi', 'slurm'])
    parser.add_argument('--swap', nargs='+', default=[], metavar='PART=NAME', help='take a whole part from configs/_base_')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change keys of the config')
    parser.add_argument('--local_rank', '--local-rank', type=int, help='given by the deepspeed launcher')
    args = parser.parse_args()

    from lisa_mm.apis.training import train
    from lisa_mm.engine.launch import detect_launcher

    launcher = detect_launcher(args.local_rank, args.launcher)
    folder = train(
        args.config,
        work_dir=args.work_dir,
        resume=args.resume,
        launcher=launcher,
        swaps=args.swap,
        options=args.cfg_options,
    )
    print(f'trained. Evaluate it: python tools/test.py {folder}')


if __name__ == '__main__':
    run_command(main)
