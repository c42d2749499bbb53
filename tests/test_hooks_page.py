"""docs/hooks.md against the table of the code and mmengine's registries; as a program, it renews the page."""

from __future__ import annotations

from pathlib import Path

import mmengine.visualization  # noqa: F401 - registers
import pytest
from mmengine import registry

import lisa_mm.engine  # noqa: F401 - registers
from lisa_mm.engine.mmengine_parts import KINDS, PARTS, table

PAGE = Path(__file__).parents[1] / 'docs/hooks.md'
BEGIN = '## Hooks\n'


@pytest.mark.parametrize('kind', KINDS)
def test_every_part_of_mmengine_has_a_row(kind):
    registered = {name for name, cls in getattr(registry, kind).module_dict.items() if cls.__module__.startswith('mmengine.')}
    rows = {name for name, part in PARTS.items() if part.kind == kind}
    new, gone = sorted(registered - rows), sorted(rows - registered)
    assert not new, f'mmengine has {kind} that nobody tried with our runner: {new}; try them and add rows to mmengine_parts.py'
    assert not gone, f'mmengine no longer has {gone}: remove their rows from mmengine_parts.py'


def test_the_page_is_the_table():
    assert table() in PAGE.read_text(encoding='utf-8'), 'python tests/test_hooks_page.py renews docs/hooks.md'


if __name__ == '__main__':
    text = PAGE.read_text(encoding='utf-8')
    PAGE.write_text(text.partition(BEGIN)[0] + table(), encoding='utf-8')
