"""A training step of the published 7B and 13B on 1, 8 and 64 GPUs: operations, memory and bytes communicated, calculated.

    python tools/benchmark.py paper --page docs/speed.md

Nothing is measured. Operations are torch's count of a forward and backward on shapes, memory is that of
`tools/check_config.py --gpus N`, and the bytes follow from the sizes of the parameters and DeepSpeed's steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_mm.errors import UserError

from .turns.report import aligned, fill_page, find_markers, markdown_table

CONFIGS = ('lisa_7b_mix', 'lisa_13b_mix')
GPUS = (1, 8, 64)
STAGES = (0, 1, 2, 3)
IMAGES = 160  # of an optimizer step; more where 2 per GPU are more
GIB = 2**30
HALF = 2  # bytes of a parameter or gradient
MICRO_BATCH = 2  # images of a forward, as published
SHAPE = {'images': MICRO_BATCH, 'rows': 3, 'tokens': 512, 'size': (768, 1024)}  # rows and tokens are per image and per row


@dataclass(frozen=True)
class Sizes:
    """What the bytes communicated follow from.

    Args:
        trained: Bytes of the trained parameters, and of their gradients.
        frozen: Bytes of the frozen parameters.
        micro_batches: Forwards and backwards of a GPU per optimizer step.
        gpus: Number of GPUs.
    """

    trained: int
    frozen: int
    micro_batches: int
    gpus: int


def bytes_sent(stage: int, sizes: Sizes) -> float:
    """Bytes that a GPU sends per optimizer step, with ring algorithms.

    A reduce-scatter or an all-gather of N bytes sends N (n - 1) / n of each of n GPUs, an all-reduce twice as many. Stage 0
    all-reduces the gradients once per step. Stage 1 reduces them to their owners and gathers the trained parameters. Stage 2
    reduces after every micro-batch. Stage 3 gathers all parameters, frozen ones too, for each forward and each backward, and
    reduces the gradients after every micro-batch (Rajbhandari et al., ZeRO, 2020).

    Args:
        stage: ZeRO's stage.
        sizes: Sizes of the parameters, and the number of GPUs.
    """
    whole = {
        0: 2 * sizes.trained,
        1: 2 * sizes.trained,
        2: (sizes.micro_batches + 1) * sizes.trained,
        3: sizes.micro_batches * (3 * sizes.trained + 2 * sizes.frozen),
    }[stage]
    return whole * (sizes.gpus - 1) / sizes.gpus


def operations_of(source: dict[str, Any]) -> dict[str, float]:
    """Operations of each part in a micro-batch's forward and backward on one GPU, recomputed layers included."""
    from lisa_mm.planning.batch import BatchShape
    from lisa_mm.planning.report import build_on_shapes
    from lisa_mm.planning.trace import trace_step

    from .turns.parts import Parts, operations

    model = build_on_shapes(source['model'])
    with operations() as counter:
        parts = Parts(counter.get_total_flops)
        with parts.watching(model):
            trace_step(model, BatchShape(**SHAPE), half=True, device='cuda')
    return dict(parts.spent)


def source_of(name: str, *options: str, swaps: Sequence[str] = ()) -> dict[str, Any]:
    """A shipped config with some options and parts."""
    import lisa_mm
    from lisa_mm.config import load_config

    return load_config(lisa_mm.get_config(f'lisa/{name}'), swaps, options).to_dict()


def operations_table(names: tuple[str, ...]) -> list[list[str]]:
    """TFLOP of a micro-batch by part, with and without a shared prefix."""
    share = 'model.mllm.language_model.share_prefix'
    counted = {
        f'{name}{note}': operations_of(source_of(name, f'{share}={on}'))
        for name in names
        for on, note in ((False, ''), (True, ', shared prefix'))
    }
    parts = sorted({part for own in counted.values() for part, value in own.items() if value})
    rows = [['TFLOP of 2 images', *counted]]
    rows += [[part, *(f'{own.get(part, 0) / 1e12:.2f}' for own in counted.values())] for part in parts]
    return [*rows, ['all', *(f'{sum(own.values()) / 1e12:.1f}' for own in counted.values())]]


def scaling_table(names: tuple[str, ...]) -> list[list[str]]:
    """Memory and bytes for each number of GPUs and ZeRO stage."""
    from lisa_mm.planning.report import RESERVE, Estimator

    rows = [['', 'GPUs', 'micro-batches per GPU', 'ZeRO', 'GiB per GPU', 'GB sent per GPU and step']]
    for name in names:
        for gpus in GPUS:
            estimator = Estimator(gpus)
            micro_batches = max(1, IMAGES // (MICRO_BATCH * gpus))
            for stage in STAGES:
                if gpus == 1 and stage != 2:  # one GPU shards nothing: the stages are alike
                    continue
                source = source_of(name, swaps=[f'strategy=zero{stage}_bf16'])
                source['strategy'].pop('target_batch', None)
                source['strategy']['accumulation'] = micro_batches
                found = estimator.estimate(source)
                trace = found.trace
                sizes = Sizes(HALF * sum(trace.trained), HALF * sum(trace.frozen), micro_batches, gpus)
                needed = (found.memory.peak + RESERVE) / GIB
                sent = bytes_sent(stage, sizes) / 1e9
                rows.append([name, str(gpus), str(micro_batches), str(stage), f'{needed:.1f}', f'{sent:.1f}'])
    return rows


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``tools/benchmark.py paper``."""
    parser = subparsers.add_parser(
        'paper',
        help='operations, memory and bytes communicated of a 7B and a 13B on several GPUs, calculated',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--configs', nargs='+', default=list(CONFIGS), metavar='NAME', help='(default: the 7B and the 13B)')
    parser.add_argument('--page', metavar='FILE', help='write the tables between the markers of a page, such as docs/speed.md')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Calculate and print.

    Raises:
        UserError: for a name that is no shipped config, or a page without markers.
    """
    names = tuple(args.configs)
    page = Path(args.page) if args.page else None
    if page is not None:
        find_markers(page, 'paper')
    try:
        tables = [operations_table(names), scaling_table(names)]
    except FileNotFoundError as error:
        raise UserError(f'--configs: {error}') from error
    print('\n\n'.join(map(aligned, tables)))
    if page is not None:
        fill_page(page, 'paper', '\n\n'.join(map(markdown_table, tables)))
