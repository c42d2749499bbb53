"""Damage that users do to a config: kinds of it, each with a seeded choice of place and value.

A kind gives the command line's options, or a changed text of the config, and what its error must hold: the key, the value
that was given, and a remedy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lisa_mm

NANO = Path(lisa_mm.get_config('lisa/lisa_nano_pretrain'))  # builds without any weights
MIX = Path(lisa_mm.get_config('lisa/lisa_7b_mix'))


@dataclass
class Damage:
    """One broken config.

    Args:
        kind: Its name.
        key, value, remedy: Texts that the error must hold.
        options: Of the command line.
        config: The config; with ``text`` a file with this content takes its place.
        text: The whole file.
    """

    kind: str
    key: str
    value: str
    remedy: str
    options: list[str] = field(default_factory=list)
    config: Path = NANO
    text: str | None = None


KINDS: dict[str, Callable[[random.Random], Damage]] = {}


def kind(function: Callable[[random.Random], Damage]) -> Callable[[random.Random], Damage]:
    KINDS[function.__name__] = function
    return function


def misspelt(word: str, rng: random.Random) -> str:
    """Two neighbours exchanged; never the word itself."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    i = rng.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def damages(seed: int) -> list[Damage]:
    """One of each kind."""
    return [make(random.Random(f'{seed}-{name}')) for name, make in KINDS.items()]


def option(name: str, key: str, value: object, remedy: str, **more: object) -> Damage:
    """Damage by one option; the last name of the key and the value must be in the error."""
    shown = more.pop('shown', None)
    options = [f'{key}={value}', *more.pop('also', [])]  # type: ignore[misc]
    return Damage(name, key.rsplit('.', 1)[-1], str(value if shown is None else shown), remedy, options, **more)


def lora(name: str, key: str, value: object, remedy: str) -> Damage:
    """Damage inside model.lora."""
    written = {'r': 4, 'lora_alpha': 8, 'target_modules': ['q_proj'], key: value}
    shown = value[0] if isinstance(value, list) else value
    return Damage(name, key, str(shown), remedy, ['model.tuning=None', f'model.lora={written!r}'])


def edit(path: Path, old: str, new: str, key: str) -> str:
    """The file's text with one place changed; a key that another file gives is added instead."""
    text = path.read_text()
    return text.replace(old, new, 1) if old in text else f'{text}\n{new} dict()\n'
