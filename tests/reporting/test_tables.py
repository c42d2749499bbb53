from __future__ import annotations

import math

import pytest

from lisa_mm.evaluation.results import Score
from lisa_mm.reporting.tables import Table, as_latex, as_markdown, as_text, figure, latex, markdown

NASTY = 'a|b_c*d &<e>\n$f$ 100% #1 {g} \\h ~i^ [j](k)'


@pytest.mark.parametrize(
    ('score', 'sign', 'text'),
    [
        (Score(value=0.67149, low=0.62, high=0.72), False, '0.671 [0.620, 0.720]'),
        (Score(value=1.5), False, '1.500'),
        (Score(value=-0.004, low=-0.1, high=0.12), True, '-0.004 [-0.100, +0.120]'),
        (Score(value=0.5, low=math.nan, high=math.nan), False, '0.500'),
        (Score(value=math.nan), False, '-'),
        (None, False, '-'),
    ],
)
def test_a_figure(score, sign, text):
    assert figure(score, sign=sign) == text


def test_markdown_escapes():
    assert markdown(NASTY) == r'a\|b\_c\*d \&\<e\> \$f\$ 100% \#1 \{g\} \\h \~i^ \[j\]\(k\)'
    assert markdown('0.671 [0.620, 0.720] *') == r'0.671 [0.620, 0.720] \*'


def test_latex_escapes():
    assert latex(NASTY) == (
        r'a\textbar{}b\_c{*}d \&\textless{}e\textgreater{} \$f\$ 100\% \#1 \{g\} \textbackslash{}h '
        r'\textasciitilde{}i\textasciicircum{} {[}j](k)'
    )
    assert latex('-0.004 [-0.100, +0.120]') == '$-$0.004 [$-$0.100, +0.120]'
    assert latex('-') == '-'


def test_text_is_aligned_by_what_is_seen():
    table = Table('t', ['model', 'x'], [['模型', '1'], ['ab', '22']], ['a note'])
    assert as_text(table) == 't\nmodel   x\n-----  --\n模型    1\nab     22\n[1] a note'


def test_wide_text_is_broken_and_names_without_figures_are_left_out():
    names = [f'score {n}' for n in range(8)]
    first = ['a', *['0.671 [0.620, 0.720]'] * 8]
    second = ['b', '0.500', *['-'] * 7]
    text = as_text(Table('t', ['model', *names], [first, second]))
    assert max(map(len, text.splitlines())) <= 110
    assert text.count('model') == 2
    assert [line.split()[0] for line in text.splitlines() if line[:2] in ('a ', 'b ')] == ['a', 'b', 'a']
    assert all(name in text for name in names)


def test_a_column_wider_than_the_terminal():
    assert 'x' * 200 in as_text(Table('t', ['model', 'x' * 200, 'y'], [['a', '1', '2']]))


def test_a_table_without_columns():
    assert as_text(Table('t', ['model'], [['a']])) == 't\nmodel\n-----\na'


def test_markdown_table():
    lines = as_markdown(Table('t', ['model', 'x'], [['a|b', '-0.1']], ['n'])).splitlines()
    assert lines == ['**t**', '', '| model | x |', '|---|--:|', r'| a\|b | -0.1 |', '', r'\[1\] n']


def test_latex_table():
    text = as_latex(Table('50 %', ['model', 'x'], [['[a]', '-0.1']], ['n']))
    assert '\\caption{50 \\%}' in text and '\\begin{tabular}{lr}' in text
    assert '{[}a] & $-$0.1 \\\\' in text
    assert text.count('\\begin') == text.count('\\end') == 2
    assert '{[}1] n' in text
