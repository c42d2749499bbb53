"""docs/formats.md is made from the declared formats: ``python -m tests.datasets.test_formats_page`` writes its tables anew."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
from typing_extensions import get_type_hints, is_typeddict

from lisa_mm.datasets.formats import Harmless, Refuses, fields_of
from lisa_mm.datasets.record_formats import ALL

PAGE = Path(__file__).parents[2] / 'docs' / 'formats.md'
START = '<!-- tables: made by tests/datasets/test_formats_page.py -->\n'
WORDS = {Harmless: 'not read, harmless', Refuses: 'refused'}


def tables() -> str:
    """A table per format."""
    parts = []
    for kind in ALL:
        schema = schema_of(kind.schema)
        lines = [f'## {inspect.getdoc(schema)}', '', '| field | needed | what becomes of it |', '|---|---|---|']
        shown: set[str] = set()
        for field in fields_of(kind.schema):
            if field.path.removeprefix('others[].') in shown:
                continue  # as above
            shown.add(field.path)
            what = WORDS.get(type(field.mark))
            text = field.mark.text
            if isinstance(field.mark, Refuses):
                allowed = ', '.join(map(str, field.mark.allowed))
                text += f' (allowed: {allowed})' if allowed else ''
            lines.append(
                f'| `{field.path}` | {"yes" if field.required else ""} | {f"**{what}**: " if what else ""}{text.replace("|", "/")} |'
            )
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts) + '\n'


def schema_of(schema):
    """The TypedDict inside a format's type."""
    return schema if is_typeddict(schema) else schema_of(get_args(schema)[0])


def test_the_page_has_these_tables():
    assert PAGE.read_text(encoding='utf-8').partition(START)[2] == tables(), f'run python -m {__name__}'


@pytest.mark.parametrize('kind', ALL, ids=lambda kind: kind.name)
def test_every_field_says_what_becomes_of_it(kind):
    described = {field.name for field in fields_of(kind.schema)}
    assert set(get_type_hints(schema_of(kind.schema))) <= described


@pytest.mark.parametrize('kind', ALL, ids=lambda kind: kind.name)
def test_every_format_is_named_in_the_page(kind):
    assert re.search(rf'^## {re.escape(inspect.getdoc(schema_of(kind.schema)) or "")}$', PAGE.read_text(encoding='utf-8'), re.M)


if __name__ == '__main__':
    PAGE.write_text(PAGE.read_text(encoding='utf-8').partition(START)[0] + START + tables(), encoding='utf-8')
