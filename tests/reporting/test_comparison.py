from __future__ import annotations

import re
import shutil

import pytest

from lisa_mm.errors import UserError
from lisa_mm.evaluation.results import Run, Score
from lisa_mm.reporting import compare

from .making import run_of, write_model
from .test_pairing import FIRST, OTHER


def plain(**more):
    settings = {'scores': {'gIoU': Score(value=0.5, low=0.4, high=0.6)}, 'counts': {'questions': 9, 'images': 3}, **more}
    return Run(**{'benchmark': 'reasonseg', 'title': 'ReasonSeg', 'split': 'val', 'protocol': 'given', **settings})


def write(tmp_path, name, *runs):
    return write_model(tmp_path / re.sub(r'\W', '_', name), name, [(run, None) for run in runs])


def test_values_by_hand(tmp_path):
    # see test_pairing: 0.4 and 0.6333; +0.2333 with the interval of two images [0.1, 0.5]
    made = [write_model(tmp_path / name, name, [(run_of('x', rows), rows)]) for name, rows in (('a', FIRST), ('b', OTHER))]
    lines = compare(made).splitlines()
    assert re.fullmatch(r'a +0\.400 \[0\.350, 0\.500\] +0\.406 \[0\.350, 0\.500\] +3 +2', lines[3])
    assert lines[6] == 'x val, answer given: difference from a on the same questions (* its interval leaves out 0)'
    # cIoU: 9 / 20 - 7 / 20 = +0.1 twice the first image, 12 / 12 - 6 / 12 = +0.5 twice the second
    assert re.fullmatch(r'b +\+0\.233 \[\+0\.100, \+0\.500\] \* +\+0\.250 \[\+0\.100, \+0\.500\] \*', lines[9])


def test_one_model_has_no_differences(two):
    text = compare(two[:1])
    assert 'difference' not in text
    assert text.count('lisa_a') >= 3


def test_two_models(two):
    text = compare(two)
    assert 'num_masks' not in text
    assert text.count('difference from lisa_a on the same questions') == 2  # not for MUSE, which is absent
    assert 'lisa_b [1]' in text and '[1] 3 images of this split were in the training data (refCOCO train)' in text
    assert '[1] not run: data/muse/muse_val.json is missing.' in text


def test_results_copied_without_rows(two, tmp_path):
    for folder in two:
        (tmp_path / folder.name).mkdir()
        shutil.copy(folder / 'results.json', tmp_path / folder.name)
    text = compare([tmp_path / folder.name for folder in two])
    assert 'no difference is given: the rows of one of both were not kept' in text
    assert '0.570' in text or 'gIoU' in text


def test_limited_and_other_protocols_are_marked(tmp_path):
    first = write(tmp_path, 'a', plain(split_sha256='aa'))
    second = write(tmp_path, 'b', plain(status='limited', limit=2, split_sha256='bb'), plain(protocol='generated'))
    text = compare([first, second])
    assert 'b [1] [2]' in text
    assert '[1] only the first 2 records' in text and '[2] other questions than a: the hashes of the split differ' in text
    assert 'ReasonSeg val, answer generated' in text
    assert '[1] not run with the answer generated, only given' in text


def test_published_rows(tmp_path):
    folder = write(tmp_path, 'mine', plain(protocol='generated'))
    text = compare([folder], published=True)
    row = next(line for line in text.splitlines() if line.startswith('LISA-7B ['))
    assert row.split() == ['LISA-7B', '[1]', '[2]', '[3]', '0.444', '0.460', '-', '-']
    assert '[1] published: LISA: Lai et al., CVPR 2024' in text
    assert '[2] the answer was given, not generated as in this table' in text
    assert '[3] the published split has 200 questions, the runs of this table 9: other data' in text
    assert 'LISA' not in compare([folder])
    whole = write(tmp_path, 'whole', plain(counts={'questions': 200, 'images': 200}))
    assert 'LISA-7B [1]  ' in compare([whole], published=True)


def test_a_published_score_that_the_run_lacks_has_a_column(tmp_path):
    text = compare([write(tmp_path, 'mine', plain(benchmark='grefcoco'))], published=True)
    assert 'N-acc' in text and '0.570' in text


def test_nothing_is_published_about_other_benchmarks(tmp_path):
    folder = write(tmp_path, 'mine', plain(benchmark='mine'))
    assert compare([folder], published=True) == compare([folder])


@pytest.mark.parametrize('form', ['markdown', 'latex'])
def test_names_are_escaped(tmp_path, form):
    text = compare([write(tmp_path, '50%_of|a&b', plain(title='x_y')), write(tmp_path, 'other', plain())], form=form)
    assert (r'50%\_of\|a\&b' if form == 'markdown' else r'50\%\_of\textbar{}a\&b') in text
    assert 'x\\_y' in text


def test_wrong_forms_and_empty_results(tmp_path):
    folder = write(tmp_path, 'mine')
    with pytest.raises(UserError, match="tables as 'html'; allowed: table, markdown, latex"):
        compare([folder], form='html')
    with pytest.raises(UserError, match='the results hold no runs'):
        compare([folder])
