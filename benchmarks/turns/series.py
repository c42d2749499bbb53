"""Rounds of turns: every variant once per round, each in a process of its own, and their medians."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_mm.errors import UserError
from lisa_mm.progress import progress

from .. import checkout_environment
from ..presets import READERS

PLAIN, ALL, CACHED = 'as original', 'all savings', 'all savings, features on disk'
# How much longer LISA's own program takes for a training step than a commit of this package: with the memory allocator as it is
# by default, and with the same settings on both sides
ANCHORS: dict[str, dict[str, float]] = {'d96c19b': {PLAIN: 2.14, 'allocator': 1.30}}
ANCHOR_ALLOWED = 0.15
AGREE = 1e-3  # of the numbers of the first steps, relative


@dataclass(frozen=True)
class Variant:
    """What is measured in one turn of a round.

    Args:
        name: Its name in the table.
        savings: The savings that are on; None for another checkout, which runs as it is.
        checkout: Folder of another checkout.
        features: Whether the features of frozen encoders are read from disk (``cache_features``).
    """

    name: str
    savings: tuple[str, ...] | None
    checkout: str | None = None
    features: bool = False


def variants_of(work: str, *, as_original: bool, each: bool, against: str | None) -> list[Variant]:
    """The variants of a round, the slowest first.

    Args:
        work: The kind of work.
        as_original: With one that has no saving.
        each: With one for each saving alone (and what it needs), beside the one that has none.
        against: Folder of another checkout, or None.
    """
    from ..plain.savings import SAVINGS, savings_of

    names = savings_of(work)
    found = [Variant(PLAIN, ())] if as_original or each else []
    if each:
        found += [Variant(name, (*SAVINGS[name].needs, name)) for name in names]
    elif against is not None and as_original and 'allocator' in names:
        found.append(Variant('allocator', ('allocator',)))  # the second anchor
    found.append(Variant(ALL, tuple(names)))
    if work == 'train':
        found.append(Variant(CACHED, tuple(names), features=True))
    if against is not None:
        found.append(Variant(commit_of(against) or Path(against).name, None, str(Path(against).resolve())))
    return found


def commit_of(folder: str) -> str | None:
    """The short name of the commit that a folder holds; None outside git."""
    done = subprocess.run(['git', '-C', folder, 'rev-parse', '--short=7', 'HEAD'], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def run_turn(variant: Variant, work: str, preset: str, *, threads: int, steps: int, operations: bool) -> dict[str, Any]:
    """Measure a variant in a process of its own.

    Raises:
        UserError: if the process fails.
    """
    task = {
        'work': work,
        'preset': preset,
        'savings': variant.savings,
        'checkout': variant.checkout,
        'features': variant.features,
        'threads': threads,
        'steps': steps,
        'operations': operations,
    }
    environment = checkout_environment(OMP_NUM_THREADS=str(threads), CUDA_VISIBLE_DEVICES='')
    command = [sys.executable, '-m', 'benchmarks.turns.one', json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise UserError(f'{work}, {variant.name}: the measured process failed:\n{done.stderr[-3000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    work: str,
    preset: str,
    variants: Sequence[Variant],
    *,
    rounds: int,
    threads: int,
    steps: int,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Measure all variants in turns.

    Args:
        work: The kind of work.
        preset: Name of the sizes.
        variants: What to measure.
        rounds: Turns of each variant.
        threads: Threads of torch.
        steps: Timed steps of a turn.
        keep: Called with the results so far after each round.

    Raises:
        UserError: if a turn fails, or variants of this checkout compute different things.
    """
    turns: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    order = [(number, variant) for number in range(rounds) for variant in variants]
    found: dict[str, Any] = {}
    for place, (number, variant) in enumerate(progress(order, f'{work}, {preset}', 'turn'), start=1):
        turn = run_turn(variant, work, preset, threads=threads, steps=steps, operations=number == 0 and work not in READERS)
        turns[variant.name].append(turn)
        if place % len(variants) == 0:
            check_agreement(work, variants, turns)
            found = {'work': work, 'preset': preset, 'threads': threads, 'rounds': number + 1, 'steps': steps}
            found['variants'] = {name: summary(own, turns.get(PLAIN)) for name, own in turns.items()}
            found['anchors'] = anchors(work, preset, variants, turns)
            found['turns'] = turns
            keep(found)
    return found


def check_agreement(work: str, variants: Sequence[Variant], turns: dict[str, list[dict[str, Any]]]) -> None:
    """Check that the variants of this checkout compute the same numbers.

    Raises:
        UserError: naming two that do not.
    """
    own = [variant.name for variant in variants if variant.checkout is None]
    first = turns[own[0]][0]['numbers']
    for name in own[1:]:
        other = turns[name][0]['numbers']
        if len(first) != len(other) or any(abs(a - b) > AGREE * max(abs(a), 1.0) for a, b in zip(first, other, strict=True)):
            raise UserError(f'{work}: {own[0]!r} computes {first}, but {name!r} {other}: a plain piece is wrong, or a saving.')


def middle(turns: Sequence[dict[str, Any]], key: str) -> float:
    """The median over turns of their median step."""
    return statistics.median(statistics.median(turn[key]) for turn in turns)


def ratio(turns: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> float:
    """How many times as fast as the base, the median over rounds."""
    pairs = zip(turns, base, strict=False)  # the base may be a turn ahead
    return statistics.median(statistics.median(b['seconds']) / statistics.median(a['seconds']) for a, b in pairs)


def summary(turns: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """The medians of a variant.

    Args:
        turns: Its turns.
        plain: Those of the variant without savings.
    """
    found: dict[str, Any] = {'seconds': middle(turns, 'seconds'), 'peak': statistics.median(turn['peak'] for turn in turns)}
    found['numbers'] = turns[0]['numbers']
    if plain:
        found['times as fast'] = ratio(turns, plain)
        found['of the memory'] = found['peak'] / statistics.median(turn['peak'] for turn in plain)
    if 'rate' in turns[0]:
        found['cpu_seconds'] = middle(turns, 'cpu_seconds')
        parts = {name for turn in turns for name in turn['parts']}
        found['parts'] = {name: statistics.median(turn['parts'].get(name, 0.0) for turn in turns) for name in sorted(parts)}
        found['operations'] = turns[0]['operations']
        found['rate'] = statistics.median(turn['rate'] for turn in turns)
        total = sum(found['operations'].values())
        shares = [total / statistics.median(turn['seconds']) / turn['rate'] for turn in turns]
        found['share of the rate'] = statistics.median(shares)
    return found


def anchors(work: str, preset: str, variants: Sequence[Variant], turns: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Ratios to a commit for which the original's are known: measured, known, and whether they agree within 15 %."""
    found = []
    for variant in variants:
        known = ANCHORS.get(variant.name, {}) if variant.checkout and (work, preset) == ('train', 'mid') else {}
        for name, value in known.items():
            if name in turns:
                measured = ratio(turns[variant.name], turns[name])
                holds = abs(measured / value - 1) <= ANCHOR_ALLOWED
                found.append({'variant': name, 'commit': variant.name, 'measured': measured, 'known': value, 'holds': holds})
    return found
