"""Compare the calculated memory of a training step with the measured one, for small configurations on this CPU.

Calculated: by running the model on shapes and following the strategy's steps (lisa_mm/planning). Measured: from the allocation
events of torch's profiler around real training steps. benchmarks/memory/cases.py lists the configurations, and which were set
aside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lisa_mm.errors import UserError

if TYPE_CHECKING:
    from .cases import MemoryCase

ALLOWED = 0.15  # fraction of the measured value


def run(args: argparse.Namespace) -> None:
    """Calculate, measure, print.

    Raises:
        UserError: if no configuration has the given name, or one is off by more than 15 %.
    """
    from .cases import ADDED, CASES_BY_NAME, HELD_OUT
    from .measure import measure

    chosen = [case for name, case in CASES_BY_NAME.items() if (args.only or '') in name]
    if not chosen:
        raise UserError(f'--only {args.only!r}: no configuration of this name. There are: {"; ".join(CASES_BY_NAME)}.')
    rows = []
    for case in chosen:
        side = 'set aside' if case.name in HELD_OUT else 'later' if case in ADDED else ''
        row: dict[str, Any] = {'name': case.name, 'side': side, 'calculated': calculate(case), 'measured': measure(case)}
        row['difference'] = row['calculated'] / row['measured'] - 1
        rows.append(row)
        print(markdown_row(row), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=1))
    if args.table:
        Path(args.table).write_text(markdown(rows))
    if args.figure:
        draw(rows, Path(args.figure))
    worst = max(rows, key=lambda row: abs(row['difference']))
    print(f'largest difference {worst["difference"]:+.1%}: {worst["name"]}')
    if abs(worst['difference']) > ALLOWED:
        raise UserError(f'{worst["name"]} is off by more than {ALLOWED:.0%}: the calculation no longer follows what is run.')


def calculate(case: MemoryCase) -> int:
    """Peak bytes of a case, from its config."""
    from lisa_mm.planning.plans import plan_of
    from lisa_mm.planning.report import build_on_shapes
    from lisa_mm.planning.step import step_memory
    from lisa_mm.planning.trace import trace_step

    from .measure import shape_of

    source = case.source()
    plan = plan_of(source['strategy'], processes=case.processes, micro_batch=case.images, device='cpu')
    trace = trace_step(build_on_shapes(source['model']), shape_of(case), half=case.bf16, device='cpu')
    return step_memory(trace, plan).peak


def markdown_row(row: dict[str, Any]) -> str:
    """A markdown row: name, set aside or not, calculated and measured megabytes, difference."""
    calculated, measured = (f'{row[key] / 1e6:.1f}' for key in ('calculated', 'measured'))
    return f'| {row["name"]} | {row["side"]} | {calculated} | {measured} | {row["difference"]:+.1%} |'


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    head = ['| configuration | | calculated, MB | measured, MB | difference |', '|---|---|---:|---:|---:|']
    return '\n'.join([*head, *(markdown_row(row) for row in rows)]) + '\n'


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot measured against calculated memory, with the allowed band."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4.5))
    top = 1.1e-6 * max(max(row['calculated'], row['measured']) for row in rows)
    axes.fill_between([0, top], [0, top * (1 - ALLOWED)], [0, top * (1 + ALLOWED)], color='0.9', label=f'within {ALLOWED:.0%}')
    axes.plot([0, top], [0, top], color='0.6', linewidth=1)
    for side, marker, label in (
        ('', 'o', 'used to make it right'),
        ('set aside', '^', 'set aside'),
        ('later', 's', 'came later'),
    ):
        chosen = [row for row in rows if row['side'] == side]
        axes.plot([r['measured'] / 1e6 for r in chosen], [r['calculated'] / 1e6 for r in chosen], marker, label=label)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel='measured, MB', ylabel='calculated, MB', title='Peak memory of a training step')
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
