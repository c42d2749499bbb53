"""Class names that data sets do not ship in a file, one per line, in the order of the published class ids."""

from __future__ import annotations

from pathlib import Path


def class_names(name: str) -> list[str]:
    """The names of ``'ade20k'`` (150, the first is png value 1) or ``'cocostuff'`` (182, the first is png value 0)."""
    return (Path(__file__).parent / f'{name}.txt').read_text(encoding='utf-8').split('\n')[:-1]
