"""Tables, and the place of a table in a page."""

from __future__ import annotations

import pytest

from benchmarks.turns import report
from lisa_mm.errors import UserError

FOUND = {
    'work': 'train',
    'preset': 'mid',
    'threads': 2,
    'rounds': 5,
    'steps': 2,
    'anchors': [{'variant': 'as original', 'commit': 'd96c19b', 'measured': 2.0, 'known': 2.14, 'holds': True}],
    'variants': {
        'as original': {
            'seconds': 4.0,
            'times as fast': 1.0,
            'cpu_seconds': 8.0,
            'peak': 2**31,
            'of the memory': 1.0,
            'parts': {'mask decoder': 1.0},
            'operations': {'mask decoder': 2e9},
            'rate': 1e11,
            'share of the rate': 0.1,
        },
        'all savings': {
            'seconds': 1.0,
            'times as fast': 4.0,
            'cpu_seconds': 2.0,
            'peak': 2**30,
            'of the memory': 0.5,
            'parts': {'mask decoder': 0.5, 'vision tower': 0.1},
            'operations': {'mask decoder': 1e9},
            'rate': 1e11,
            'share of the rate': 0.2,
        },
        'd96c19b': {'seconds': 2.0, 'peak': 2**30},
    },
}


def test_text_and_markdown_tell_the_same():
    text, table = report.text(FOUND, 'a step'), report.markdown(FOUND, 'a step')
    for part in ('4.00', '0.50', '20%', 'within 15 %', '100 GFLOP/s', 'vision tower', "allocator's default"):
        assert part in text and part in table
    assert '| d96c19b | 2.000 |  |  | 1.00 |  |  |  |' in table


def test_a_page_keeps_what_stands_around_the_table(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- speed train -->\nold\n<!-- end of speed train -->\nb\n')
    for table in ('one', 'two'):
        report.fill_page(page, 'train', table)
        assert page.read_text() == f'a\n<!-- speed train -->\n{table}\n<!-- end of speed train -->\nb\n'


@pytest.mark.parametrize('content', [None, '', '<!-- speed train -->\n', '<!-- end of speed train -->\n<!-- speed train -->\n'])
def test_a_page_without_markers_is_refused(tmp_path, content):
    page = tmp_path / 'page.md'
    if content is not None:
        page.write_text(content)
    with pytest.raises(UserError, match='--page'):
        report.find_markers(page, 'train')


def test_a_plot(tmp_path):
    report.draw({'train': FOUND, 'data': {'preset': 'mid', 'variants': {'all savings': {'seconds': 1.0}}}}, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').stat().st_size > 1000
