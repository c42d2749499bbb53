from __future__ import annotations

import json

import pytest

from lisa_mm.errors import DataError, UserError
from lisa_mm.evaluation.results import Run, SharedImages
from lisa_mm.reporting.evaluations import groups_of, marks, read_evaluations

from .making import ABSENT, write_model


def run(benchmark='refcoco', **more):
    settings = {'title': benchmark.title(), 'split': 'val', 'protocol': 'given', 'split_sha256': 'aa', **more}
    return Run(benchmark=benchmark, **settings)


def model(folder, name, *runs):
    return write_model(folder / name.replace('/', '_'), name, [(one, None) for one in runs])


def test_a_file_is_its_folder(two):
    by_folder, by_file = read_evaluations(two[:1])[0], read_evaluations([two[0] / 'results.json'])[0]
    assert by_folder == by_file


def test_no_paths():
    with pytest.raises(UserError, match='Give folders that'):
        read_evaluations([])


def test_a_folder_given_twice(two):
    with pytest.raises(UserError, match='is given 2 times'):
        read_evaluations([two[0], two[0] / 'results.json'])


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('{"gIoU": 0.5}', 'is no results.json of tools/test.py --out FOLDER'),
        ('not json', 'is no results.json'),
        ('{"format": 2, "model": "a"}', 'has format 2; this version reads format 1'),
    ],
)
def test_a_file_of_another_kind(tmp_path, content, fault):
    (tmp_path / 'results.json').write_text(content)
    with pytest.raises(DataError, match=fault):
        read_evaluations([tmp_path])


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match='is missing'):
        read_evaluations([tmp_path])


def test_models_of_one_name_get_the_names_of_their_folders(tmp_path):
    made = [write_model(tmp_path / name, 'lisa', []) for name in ('a', 'b')]
    made.append(write_model(tmp_path / 'deep' / 'a', 'lisa', []))
    made.append(write_model(tmp_path / 'c', 'other', []))
    assert [one.name for one in read_evaluations(made)] == ['lisa (a) 1', 'lisa (b)', 'lisa (a) 2', 'other']


def test_protocols_and_splits_are_never_mixed(tmp_path):
    first = model(tmp_path, 'a', run(), run(split='testA'), ABSENT)
    second = model(tmp_path, 'b', run(protocol='generated'), run(split='testA'))
    evaluations = read_evaluations([first, second])
    groups = {group.name: group for group in groups_of(evaluations)}
    assert list(groups) == ['refcoco val given', 'refcoco testA given', 'muse val generated', 'refcoco val generated']
    assert [one is None for one in groups['refcoco val given'].runs] == [False, True]
    assert [one is None for one in groups['refcoco testA given'].runs] == [False, False]
    assert marks(groups['refcoco val given'], 1, evaluations) == ['not run with the answer given, only generated']
    assert marks(groups['muse val generated'], 1, evaluations) == ['not run']
    assert marks(groups['muse val generated'], 0, evaluations) == [f'not run: {ABSENT.why}']


def test_unlike_things_are_marked(tmp_path):
    limited = run(status='limited', limit=20, split_sha256='bb', shared_images=SharedImages(images=4, data_sets=['x', 'y']))
    made = [model(tmp_path, 'a', run()), model(tmp_path, 'b', limited), model(tmp_path, 'c', run(split_sha256=None))]
    evaluations = read_evaluations(made)
    (group,) = groups_of(evaluations)
    assert marks(group, 0, evaluations) == []
    assert marks(group, 1, evaluations) == [
        'only the first 20 records',
        'other questions than a: the hashes of the split differ',
        '4 images of this split were in the training data (x, y)',
    ]
    assert marks(group, 2, evaluations) == ['perhaps other questions than a: a hash of the split is missing']


def test_the_first_measured_run_is_the_reference(tmp_path):
    made = [
        model(tmp_path, 'a', run(status='absent', why='no file')),
        model(tmp_path, 'b', run()),
        model(tmp_path, 'c', run(split_sha256='x')),
    ]
    evaluations = read_evaluations(made)
    (group,) = groups_of(evaluations)
    assert marks(group, 1, evaluations) == []
    assert marks(group, 2, evaluations) == ['other questions than b: the hashes of the split differ']


def test_the_metrics_of_a_run_are_in_the_file(two):
    stored = json.loads((two[0] / 'results.json').read_text())
    assert stored['runs'][0]['metrics'] == [{'type': 'SegIoUMetric'}]
