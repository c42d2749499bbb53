"""Files that a crash leaves whole, and that are never written over by mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..datasets.reading import parse_json


def write_atomically(path: Path, text: str) -> None:
    """Write or replace a file as a whole; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.tmp')
    with temporary.open('w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class GrowingFile:
    """A jsonl that only grows. A line that a crash has cut is taken out when the file is opened again.

    Args:
        path: The file; its folder is created.
    """

    def __init__(self, path: Path):
        self.path = path
        self.cut = ''  # what was taken out
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._mend()

    def _mend(self) -> None:
        with self.path.open('rb+') as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            tail, begin = b'', size
            while begin > 0 and b'\n' not in tail:
                begin = max(0, begin - 65536)
                file.seek(begin)
                tail = file.read(size - begin)
            last = tail.rpartition(b'\n')[2]
            if not last:
                return
            try:
                json.loads(last)
            except ValueError:
                self.cut = last.decode('utf-8', 'replace')
                file.truncate(size - len(last))
            else:  # an editor that writes no end of the last line
                file.seek(size)
                file.write(b'\n')

    def add(self, row: dict[str, Any]) -> None:
        """Write a line, and wait until it is stored."""
        with self.path.open('ab') as file:
            file.write(json.dumps(row, ensure_ascii=False).encode('utf-8', 'backslashreplace') + b'\n')
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows, read one by one.

        Raises:
            DataError: for a line that is no json.
        """
        if not self.path.exists():
            return
        with self.path.open(encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield parse_json(line, self.path, f'line {number}')
