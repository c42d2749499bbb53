"""Each ``path:line`` of docs/tour.md is where the named function or class is defined.

``make format`` renews the lines (``python tests/test_tour.py``).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / 'docs' / 'tour.md'
PAGE = FILE.read_text(encoding='utf-8')
PLACE = re.compile(r'(`([\w.]+)`\s+)\(\[([\w/.]+):(\d+)\]\(([^)]+)\)\)')
PLACES = [place.groups()[1:] for place in PLACE.finditer(PAGE)]


def defined_at(path: Path, name: str) -> int | None:
    """Line of a class, function or ``Class.method`` of a file; None if it is not defined there."""
    body: list[ast.stmt] = ast.parse(path.read_text(encoding='utf-8')).body
    line = None
    for part in name.split('.'):
        kinds = (ast.ClassDef, ast.FunctionDef)
        node = next((node for node in body if isinstance(node, kinds) and node.name == part), None)
        if node is None:
            return None
        line, body = node.lineno, node.body
    return line


def renewed(page: str) -> str:
    """The page with the lines of today; places that are gone stay as they are."""

    def renew(place: re.Match[str]) -> str:
        before, name, path = place.group(1, 2, 3)
        line = defined_at(ROOT / path, name)
        return f'{before}([{path}:{line}](../{path}#L{line}))' if line else place.group(0)

    return PLACE.sub(renew, page)


@pytest.mark.parametrize(('name', 'path', 'line', 'link'), PLACES, ids=[name for name, *_ in PLACES])
def test_a_stop(name, path, line, link):
    found = defined_at(ROOT / path, name)
    assert found is not None, f'{path} defines no {name}'
    assert f'{path}:{line}' == f'{path}:{found}', 'make format renews the lines'
    assert link == f'../{path}#L{found}'


def test_every_place_is_checked():
    assert len(re.findall(r'^## \d+\. ', PAGE, flags=re.M)) == 10
    assert len(PLACES) == PAGE.count('.py:') == PAGE.count('.py#L') > 20


def test_a_wrong_name_is_not_found(tmp_path):
    file = tmp_path / 'file.py'
    file.write_text('import os\n\n\n@property\ndef one(): ...\n\n\nclass Two:\n    def three(self): ...\n')
    assert [defined_at(file, name) for name in ('one', 'Two', 'Two.three', 'three', 'Two.one')] == [5, 8, 9, None, None]


def test_lines_are_renewed():
    moved = re.sub(r'(\.py(?::|#L))\d+', r'\g<1>1', PAGE)
    assert moved != PAGE
    assert renewed(moved) == renewed(PAGE)


if __name__ == '__main__':
    FILE.write_text(renewed(PAGE), encoding='utf-8')
