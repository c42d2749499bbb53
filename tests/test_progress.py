"""Bars: many lines on a screen, few in a file."""

from __future__ import annotations

import io
import sys
import time

from lisa_mm.progress import progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, stream: io.StringIO) -> int:
    monkeypatch.setattr(sys, 'stderr', stream)
    assert list(progress((time.sleep(0.01) or n for n in range(100)), 'read', 'image', total=100)) == list(range(100))
    text = stream.getvalue()
    assert 'read: 100%' in text and '100/100' in text
    return text.count('\r')


def test_a_file_gets_few_lines_and_always_the_last(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == 2  # the first and the last
    assert shown(monkeypatch, Screen()) > 4
