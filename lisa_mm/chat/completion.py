"""Completion of commands and of paths, for readline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..apis.pairing import image_suffixes


def completions(line: str, commands: Sequence[str], options: Sequence[str]) -> list[str]:
    """Whole lines that begin with this one.

    Args:
        line: What is typed.
        commands: Such as '/image'.
        options: The keys of ``/set``.
    """
    command, space, rest = line.partition(' ')
    if not space:
        found = [name for name in commands if name.startswith(command)] if command.startswith('/') else []
        return [f'{name} ' for name in found]
    if command == '/set':
        return [f'{command} {key}=' for key in options if key.startswith(rest)]
    if command in ('/image', '/save'):
        return [f'{command} {path}' for path in paths(rest, files=command == '/image')]
    return []


def paths(start: str, *, files: bool = True) -> list[str]:
    """Folders, and images, whose path begins like this; folders end in "/"."""
    folder, _, name = start.rpartition('/')
    place = Path(f'{folder}/' if '/' in start else '.').expanduser()
    found = []
    with suppress(OSError):  # no folder, or one that may not be read: nothing to complete
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            is_image = files and Path(entry.name).suffix.lower() in image_suffixes()
            if entry.name.startswith(name) and (name or not entry.name.startswith('.')) and (entry.is_dir() or is_image):
                found.append((f'{folder}/' if '/' in start else '') + entry.name + ('/' if entry.is_dir() else ''))
    return found


def install(complete: Callable[[str], list[str]]) -> None:
    """Complete the line with the tab key, where Python has readline."""
    try:
        import readline
    except ImportError:  # Windows
        return
    found: list[str] = []

    def at(text: str, number: int) -> str | None:
        if number == 0:
            found[:] = complete(text)
        return found[number] if number < len(found) else None

    readline.set_completer(at)
    readline.set_completer_delims('\n')  # the whole line, so that paths may hold spaces
    readline.parse_and_bind('bind ^I rl_complete' if 'libedit' in (readline.__doc__ or '') else 'tab: complete')
