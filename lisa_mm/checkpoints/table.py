"""What happened to every tensor of a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import CheckpointError
from .keys import part_of

USED, MERGED, IGNORED = 'used', 'merged', 'not needed'
LEFT_OVER, MISSING, RESHAPED = 'left over', 'missing', 'reshaped'
FAULTS = (LEFT_OVER, MISSING, RESHAPED)
_SHOWN = 8
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One tensor.

    Args:
        status: One of the six above.
        source: Its name in the checkpoint; empty if it is missing.
        target: Its name here; empty if it is unused.
        shape: Its shape in the checkpoint, or the expected shape if it is missing.
        note: A reason, or the expected shape.
    """

    status: str
    source: str
    target: str
    shape: Shape
    note: str = ''


@dataclass
class Table:
    """All tensors of a checkpoint, and those the model needs but does not find."""

    rows: list[Row] = field(default_factory=list)

    def add_missing_and_reshaped(self, wanted: Mapping[str, Shape]) -> None:
        """Compare the used tensors with the shapes of the model's parts."""
        used = {row.target for row in self.rows if row.status == USED}
        for number, row in enumerate(self.rows):
            if row.status != USED:
                continue
            if row.target not in wanted:
                self.rows[number] = Row(LEFT_OVER, row.source, row.target, row.shape, 'the model has no such tensor')
            elif wanted[row.target] != row.shape:
                note = f'the config wants {wanted[row.target]}'
                self.rows[number] = Row(RESHAPED, row.source, row.target, row.shape, note)
        self.rows += [Row(MISSING, '', name, shape) for name, shape in wanted.items() if name not in used]

    def of(self, status: str) -> list[Row]:
        """The rows of one status."""
        return [row for row in self.rows if row.status == status]

    def check(self, where: str) -> None:
        """Raise if a tensor is unaccounted for.

        Raises:
            CheckpointError: with the first tensors of every kind.
        """
        lines = []
        for status in FAULTS:
            rows = self.of(status)
            lines += [f'- {len(rows)} {status}:'] if rows else []
            lines += [f'    {row.source or row.target} {row.shape}{f": {row.note}" if row.note else ""}' for row in rows[:_SHOWN]]
            lines += [f'    ... and {len(rows) - _SHOWN} more'] if len(rows) > _SHOWN else []
        if lines:
            raise CheckpointError(
                f'{where}: not every tensor is explained, nothing is written.\n'
                + '\n'.join(lines)
                + '\nThe folder is damaged, of another model, or its config.json belongs to other weights.'
            )

    def summary(self) -> str:
        """Counts by part, and the reasons why tensors are not needed."""
        counts = Counter((row.status, part_of(row.target) if row.target else '') for row in self.rows)
        lines = [f'{count:6d} {status:11s} {part}'.rstrip() for (status, part), count in counts.items() if status != IGNORED]
        reasons = Counter(row.note for row in self.of(IGNORED))
        return '\n'.join(lines + [f'{count:6d} {IGNORED:11s} {reason}' for reason, count in reasons.items()])

    def text(self) -> str:
        """One line per tensor."""
        lines = [f'{"status":11s} tensor of the checkpoint -> here, shape, note']
        for row in self.rows:
            arrow = f' -> {row.target}' if row.target else ''
            note = f'  ({row.note})' if row.note else ''
            lines.append(f'{row.status:11s} {row.source or "-"}{arrow} {row.shape}{note}')
        return '\n'.join(lines)
