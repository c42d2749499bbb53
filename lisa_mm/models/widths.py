"""Widths that follow from neighbouring parts."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError


def with_derived(part: dict[str, Any], derived: dict[str, Any], where: str, sources: dict[str, str]) -> dict[str, Any]:
    """A part's config with the values that follow from its neighbours filled in.

    Args:
        part: The config as written.
        derived: Argument -> derived value.
        where: Path of the part in the config.
        sources: Argument -> the part that gives the value, for errors.

    Raises:
        ConfigError: if a written value contradicts a derived one.
    """
    faults = [
        f'{where}.{key} is {part[key]!r}, but {sources[key]} gives {value!r}. '
        f'Leave it out (it is derived) or set {where}.{key}={value!r}.'
        for key, value in derived.items()
        if key in part and part[key] != value
    ]
    if faults:
        raise ConfigError(faults)
    return {**part, **derived}
