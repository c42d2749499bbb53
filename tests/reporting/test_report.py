from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lisa_mm.errors import DataError
from lisa_mm.evaluation.results import Run
from lisa_mm.reporting import write_report
from lisa_mm.reporting.evaluations import Group
from lisa_mm.reporting.report import PICTURES, numbers_of_samples
from lisa_mm.reporting.sections import shown_samples

from .making import ABSENT, answer, draw_pictures, run_of, write_model
from .test_pairing import FIRST, OTHER

NASTY = '<script>alert("x")</script> & "co" \'d\' \ud800'
VOID = {'meta', 'link', 'img', 'br', 'line'}


class Tree(HTMLParser):
    """Checks that elements are closed, and collects texts, attributes and names."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        values = dict(attrs)
        self.ids += [values['id']] if 'id' in values else []
        self.sources += [values['src']] if 'src' in values else []
        self.links += [values['href']] if 'href' in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open[-1:] != ['style']:
            self.texts.append(data)


def report(folders, out) -> tuple[Tree, str]:
    text = write_report(folders, out).read_text(encoding='utf-8')
    tree = Tree(text)
    assert len(set(tree.ids)) == len(tree.ids)
    assert all(source.startswith('data:image/') for source in tree.sources)
    assert all(link[1:] in tree.ids if link.startswith('#') else link == 'data:,' for link in tree.links)
    assert len([source for source in tree.sources if 'jpeg' in source]) <= PICTURES
    return tree, ' '.join(' '.join(tree.texts).split())


def test_two_models(two, tmp_path):
    tree, text = report(two, tmp_path / 'deep' / 'report.html')
    for wanted in (
        'Evaluation of lisa_a, lisa_b',
        'gRefCOCO val, answer generated',
        'ReasonSeg val, answer given',
        'lisa_b: 3 images of this split were in the training data (refCOCO train)',
        'lisa_a: not run: data/muse/muse_val.json is missing. Get it from the authors.',
        'answers with a mask token 77.5 % 77.5 %',
        'Worst by mean IoU over the models',
        'something is there',
        'cd' * 32,
        'torch 2.14.0, lisa_mm 0.1',
        '2026-11-28T12:00:00+00:00',
        'cpu, float32',
        'trained on refCOCO train, ReasonSeg train',
    ):
        assert wanted in text, wanted
    assert tree.names.count('figure') == 4 + 24
    assert tree.names.count('caption') == 2  # "nothing there" in one benchmark, of two models
    assert (tmp_path / 'deep' / 'report.html').stat().st_size < 1_000_000
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['report.html']


def test_the_figures_are_the_ones_by_hand(tmp_path):
    made = [write_model(tmp_path / name, name, [(run_of('x', rows), rows)]) for name, rows in (('a', FIRST), ('b', OTHER))]
    _, text = report(made, tmp_path / 'r.html')
    # see test_pairing and test_comparison
    assert 'gIoU 0.400 [0.350, 0.500] 0.633 [0.450, 1.000] +0.233 [+0.100, +0.500]' in text
    assert 'cIoU 0.406 [0.350, 0.500] 0.656 [0.450, 1.000] +0.250 [+0.100, +0.500]' in text
    assert 'records 2 2 questions 3 3 images 2 2 masks 3 3 seconds per question 0.25 0.25' in text
    assert '0.jpg is missing' in text  # a grey box


def test_one_model(two, tmp_path):
    tree, text = report(two[:1], tmp_path / 'report.html')
    assert 'Figures with a sign' not in text and 'over the models' not in text
    assert 'svg' not in tree.names  # no legend
    assert 'Worst by IoU' in text
    assert tree.names.count('article') == 24


def test_without_rows(tmp_path):
    folder = write_model(tmp_path / 'a', 'a', [(run_of('x', FIRST), None)])
    tree, text = report([folder], tmp_path / 'r.html')
    assert 'No figures and pictures: the judged questions were not kept.' in text
    assert 'img' not in tree.names and '0.400' in text


def test_absent_runs_alone_and_no_runs(tmp_path):
    absent = write_model(tmp_path / 'a', 'a', [(ABSENT, None)])
    tree, text = report([absent], tmp_path / 'r.html')
    assert 'a: not run: data/muse' in text and 'img' not in tree.names
    _, text = report([write_model(tmp_path / 'b', 'b', [])], tmp_path / 'r.html')
    assert 'There are no runs.' in text


def test_no_question_in_common(tmp_path):
    rows = [replace(one, sample_id=f'other {one.sample_id}') for one in OTHER]
    made = [write_model(tmp_path / name, name, [(run_of('x', kept), kept)]) for name, kept in (('a', FIRST), ('b', rows))]
    _, text = report(made, tmp_path / 'r.html')
    assert 'b: no difference from a is given: 0 questions in common of 3 and 3' in text
    assert '+0.233' not in text


def test_a_model_of_another_protocol(tmp_path):
    asked = draw_pictures(tmp_path / 'pictures', 1)
    said = [answer(one, 3, said=True) for one in asked]
    given = [answer(one, 3, said=False) for one in asked]
    made = [write_model(tmp_path / name, name, [(run_of('x', rows), rows)]) for name, rows in (('a', said), ('b', given))]
    _, text = report(made, tmp_path / 'r.html')
    assert 'b: not run with the answer generated, only given' in text
    assert 'a: not run with the answer given, only generated' in text


def test_texts_are_escaped(tmp_path):
    asked = draw_pictures(tmp_path / 'pictures', 1)
    rows = [replace(answer(one, 3, said=True), question=NASTY, answer=NASTY) for one in asked]
    run = run_of('x', rows, title='<b>title</b>', split_sha256='<i>')
    folder = write_model(tmp_path / 'a', 'm', [(run, None)], device='<img src=x>', trained_on=['<u>'])
    results = folder / 'results.json'
    results.write_text(results.read_text().replace('"model": "m"', '"model": "<script>1</script>"'))
    tree, text = report([folder], tmp_path / 'r.html')
    assert 'script' not in tree.names and not {'b', 'i', 'u'} & set(tree.names) - {'b'}
    assert '<script>1</script>' in text and '<b>title</b> val' in text and '<img src=x>' in text


def test_questions_and_answers_are_escaped(tmp_path):
    asked = draw_pictures(tmp_path / 'pictures', 1)
    rows = [replace(answer(one, 3, said=True), question=NASTY[:-2], answer=NASTY[:-2]) for one in asked]
    tree, text = report([write_model(tmp_path / 'a', 'a', [(run_of('x', rows), rows)])], tmp_path / 'r.html')
    assert 'script' not in tree.names
    assert text.count('<script>alert("x")</script>') >= 4


def test_a_damaged_row_is_an_error_and_keeps_the_old_page(two, tmp_path):
    folder = write_model(tmp_path / 'a', 'a', [(run_of('x', FIRST), FIRST)])
    (rows,) = folder.glob('*/rows.jsonl')
    rows.write_text(rows.read_text() + '{"half')
    out = tmp_path / 'r.html'
    out.write_text('old')
    with pytest.raises(DataError, match='line 4 is no judged question'):
        write_report([folder], out)
    assert out.read_text() == 'old'


def group(*kept: bool) -> Group:
    runs: list[Run | None] = [run_of('x', FIRST, rows='x/rows.jsonl' if one else None) for one in kept]
    return Group('X', 'x', 'x', 'val', 'given', runs)


@pytest.mark.parametrize(
    ('groups', 'numbers'),
    [
        ([group(True)], [8]),
        ([group(True, True), group(True, True)], [2, 2]),
        ([group(True, True), group(False, False)], [4, 4]),
        ([group(True)] * 9, [1] * 8 + [0]),
        ([group(*[True] * 9)], [0]),
        ([group(*[True] * 5), group(*[True] * 5), group(*[True] * 3)], [1, 0, 1]),
        ([group(False)], [1]),
        ([], []),
    ],
)
def test_pictures_are_shared_out(groups, numbers):
    assert numbers_of_samples(groups) == numbers


def test_runs_without_pictures_say_so():
    assert 'No pictures: a report shows 24 at most' in shown_samples(['a'], [FIRST], 0)


def test_the_page_may_load_nothing(two, tmp_path):
    text = write_report(two, tmp_path / 'r.html').read_text(encoding='utf-8')
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert 'http://' not in text and 'https://' not in text
