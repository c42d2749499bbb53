"""Class names that no file of a data set holds, one a line, in the order of the published class ids."""

from __future__ import annotations

from pathlib import Path


def class_names(name: str) -> list[str]:
    """The names of ``'ade20k'`` (150, png value 1 is the first) or ``'cocostuff'`` (182, png value 0 is the first)."""
    return (Path(__file__).parent / f'{name}.txt').read_text(encoding='utf-8').split('\n')[:-1]
