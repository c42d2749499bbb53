"""Referring expressions: what is not there, several targets, names of files, and what a metric is told of each expression."""

from __future__ import annotations

import pytest

from lisa_mm.datasets import MixtureDataset, ReferSegDataset
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import ConfigError, DataError

from .refer_files import AREAS, ref, write_refer

FALSE = {'sent': 'the Cat', 'is_false_premise': True, 'gt_sent': 'the dog'}
BERKELEY = 'refs(berkeley_exclude_unified).p'


def fprefcoco(root, *refs):
    return write_refer(root, 'fprefcoco', BERKELEY, list(refs))


def opened(root, name, split='val', **options):
    return ReferSegDataset(
        str(root), name=name, split=split, test_mode=True, pipeline=[LoadImage(), DecodeMasks()], cache_index=False, **options
    )


def areas(sample):
    return [int(mask.sum()) for mask in sample['gt_masks']]


def questions(sample):
    return [turns[0][0] for turns in sample['conversations']]


def test_a_false_premise_is_a_row_with_an_empty_mask(tmp_path):
    # the flag is missing once: SESAME's program takes the expression as true then
    fprefcoco(tmp_path, ref(3, 1, 'the dog', FALSE, {'sent': 'a pup', 'is_false_premise': False}), ref(4, 5, 'it', image=9))
    first, second = opened(tmp_path, 'fprefcoco')
    assert areas(first) == [12, 0, 12]
    assert first['gt_masks'].shape == (3, 8, 10)
    assert first['facts'] == [
        {'kind': 'true', 'ref': 0},
        {'kind': 'false', 'ref': 0, 'gt_sent': 'the dog'},
        {'kind': 'true', 'ref': 0},
    ]
    assert 'the cat' in questions(first)[1]
    assert second['facts'] == [{'kind': 'true', 'ref': 1}]


def test_an_empty_correction_is_no_fact(tmp_path):
    fprefcoco(tmp_path, ref(3, 1, {**FALSE, 'gt_sent': ''}, {**FALSE, 'gt_sent': None}))
    assert opened(tmp_path, 'fprefcoco')[0]['facts'] == [{'kind': 'false', 'ref': 0}] * 2


@pytest.mark.parametrize(('exist', 'area'), [(True, 12), (1, 12), (False, 0), (0, 0)])
def test_exist_of_r_refcoco(tmp_path, exist, area):
    write_refer(tmp_path, 'rrefcoco', 'refs(unc).p', [ref(3, 1, {'sent': 'the dog', 'exist': exist})])
    sample = opened(tmp_path, 'rrefcoco')[0]
    assert areas(sample) == [area]
    assert sample['facts'] == [{'kind': 'true' if area else 'false', 'ref': 0}]


@pytest.mark.parametrize(
    ('flags', 'told'),
    [
        ({'is_false_premise': True, 'exist': True}, 'exist is True and is_false_premise is True, which contradict'),
        ({'is_false_premise': False, 'exist': 0}, 'which contradict each other; correct one'),
        ({'is_false_premise': 'no'}, r"sentences\[0\]\.is_false_premise: it is 'no'; true or false"),
        ({'exist': None}, r'sentences\[0\]\.exist: it is None; true or false'),
        ({'exist': 2}, r'it is 2; true or false'),
        ({'exist': 1.0}, r'it is 1\.0; true or false'),
        ({'gt_sent': 3}, 'gt_sent is 3; a text is needed'),
        ({'is_false_premis': True}, "no known field, and 'is_false_premise' is missing"),
    ],
)
def test_flags_that_say_nothing_clear_are_refused(tmp_path, flags, told):
    fprefcoco(tmp_path, ref(3, 1, {'sent': 'the dog', **flags}))
    with pytest.raises(DataError, match=rf'ref 3: .*{told}'):
        opened(tmp_path, 'fprefcoco')


def test_flags_that_agree(tmp_path):
    fprefcoco(tmp_path, ref(3, 1, {'sent': 'a', 'is_false_premise': True, 'exist': False}))
    assert areas(opened(tmp_path, 'fprefcoco')[0]) == [0]


def test_a_false_premise_in_a_set_that_has_none_by_itself(tmp_path):
    write_refer(tmp_path, 'refcoco', 'refs(unc).p', [ref(3, 4, 'the dogs', FALSE)])
    sample = opened(tmp_path, 'refcoco')[0]
    assert areas(sample) == [7, 0]
    assert sample['facts'] == [{}, {'kind': 'false', 'ref': 0, 'gt_sent': 'the dog'}]


def test_a_plain_set_tells_nothing(tmp_path):
    write_refer(tmp_path, 'refcoco', 'refs(unc).p', [ref(3, 4, 'the dogs'), ref(4, 3, 'the crowd')])
    sample = opened(tmp_path, 'refcoco')[0]
    assert areas(sample) == [AREAS[4], AREAS[3]]
    assert sample['facts'] == []


GREFS = [
    ref(1, [-1], 'the cat'),
    ref(2, [1, 2], 'both dogs'),
    ref(3, [3], 'the crowd'),
    {**ref(4, [5], 'one', image=9), 'no_target': False},
    {**ref(5, [], 'none', image=9), 'no_target': True},
]


@pytest.mark.parametrize('file', ['grefs(unc).json', 'grefs(unc).p'])
def test_grefcoco_as_json_or_pickle(tmp_path, file):
    write_refer(tmp_path, 'grefcoco', file, GREFS)
    first, second = opened(tmp_path, 'grefcoco')
    assert areas(first) == [0, 12 + 16 - 4, 16]
    assert [fact['kind'] for fact in first['facts']] == ['no_target', 'target', 'target']
    assert areas(second) == [12, 0]
    assert [fact['kind'] for fact in second['facts']] == ['target', 'no_target']


def test_the_pickle_of_grefcoco_comes_first(tmp_path):
    write_refer(tmp_path, 'grefcoco', 'grefs(unc).json', GREFS)
    assert len(opened(tmp_path, 'grefcoco')) == 2
    write_refer(tmp_path, 'grefcoco', 'grefs(unc).p', GREFS[:1])
    assert len(opened(tmp_path, 'grefcoco')) == 1


def test_a_target_without_pixels_is_a_target(tmp_path):
    path = write_refer(tmp_path, 'grefcoco', 'grefs(unc).json', [ref(1, [1], 'the dog')])
    file = path.with_name('instances.json')
    file.write_text(file.read_text().replace('[[1, 1, 5, 1, 5, 4, 1, 4]]', '[]', 1))
    sample = opened(tmp_path, 'grefcoco')[0]
    assert areas(sample) == [0]
    assert sample['facts'] == [{'kind': 'target'}]


def test_no_target_with_annotations_is_refused(tmp_path):
    write_refer(tmp_path, 'grefcoco', 'grefs(unc).json', [{**ref(1, [1], 'the dog'), 'no_target': True}])
    with pytest.raises(DataError, match=r'ref 1 has no_target but names annotations \[1\]'):
        opened(tmp_path, 'grefcoco')


def test_minus_one_among_annotations_is_refused(tmp_path):
    write_refer(tmp_path, 'grefcoco', 'grefs(unc).json', [ref(1, [1, -1], 'the dog')])
    with pytest.raises(DataError, match='ref 1 names annotation -1, which is not in'):
        opened(tmp_path, 'grefcoco')


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('refcocog', 'refs(umd).p'),
        ('fprefcoco+', BERKELEY),
        ('fprefcocog', BERKELEY),
        ('rrefcoco+', 'refs(unc).p'),
        ('rrefcocog', 'refs(unc).p'),
        ('R-refcoco', 'refs(unc_exclude_unified).p'),
        ('R-refcoco+', 'refs(unc_exclude_unified).p'),
        ('R-refcocog', 'refs(umd_exclude_unified).p'),
    ],
)
def test_the_file_of_each_name(tmp_path, name, file):
    write_refer(tmp_path, name, file, [ref(3, 1, {'sent': 'the dog', 'exist': True})])
    assert areas(opened(tmp_path, name)[0]) == [12]


def test_another_split_by(tmp_path):
    write_refer(tmp_path, 'refcoco', 'refs(unc_exclude_unified).p', [ref(3, 1, 'the dog', split='train')])
    with pytest.raises(
        DataError, match=r'refs\(unc\)\.p is missing; .*refcoco holds refs\(unc_exclude_unified\)\.p\. Set split_by'
    ):
        opened(tmp_path, 'refcoco', 'train')
    assert len(opened(tmp_path, 'refcoco', 'train', split_by='unc_exclude_unified')) == 1


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match=r'fprefcoco/refs\(berkeley_exclude_unified\)\.p is missing or unreadable'):
        opened(tmp_path, 'fprefcoco')
    path = fprefcoco(tmp_path, ref(3, 1, FALSE))
    images = tmp_path / 'refer_seg/images/mscoco/images/train2014'
    (images / 'COCO_train2014_000000000007.jpg').unlink()
    with pytest.raises(DataError, match=r'ref 3: its image .*000000000007\.jpg is missing'):
        opened(tmp_path, 'fprefcoco')
    path.with_name('instances.json').unlink()
    with pytest.raises(DataError, match=r'instances\.json is missing'):
        opened(tmp_path, 'fprefcoco')


def test_unknown_splits_and_names(tmp_path):
    fprefcoco(tmp_path, ref(3, 1, FALSE), ref(4, 1, 'a', split='train'))
    with pytest.raises(DataError, match=r"no expression of split 'testA'; splits found: \['train', 'val'\]"):
        opened(tmp_path, 'fprefcoco', 'testA')
    with pytest.raises(ConfigError, match=r"name is 'fprefcocos'.*Did you mean 'fprefcoco'"):
        opened(tmp_path, 'fprefcocos')


@pytest.fixture
def mixture(tmp_path):
    fprefcoco(tmp_path, ref(3, 1, 'the dog', FALSE, split='train'))
    false = {'sent': 'the cat', 'exist': False}
    write_refer(tmp_path, 'R-refcoco', 'refs(unc_exclude_unified).p', [ref(3, 2, 'the dog', false, split='train')])
    train = [{**entry, 'split': 'train'} for entry in GREFS]
    write_refer(tmp_path, 'grefcoco', 'grefs(unc).p', train)
    sets = [dict(type='ReferSegDataset', name=name, data_root=str(tmp_path)) for name in ('fprefcoco', 'R-refcoco', 'grefcoco')]

    def build(**options):
        entries = [{**entry, **options} for entry in sets]
        return MixtureDataset({'refer_seg': entries}, pipeline=[LoadImage(), DecodeMasks()])

    return build


def test_training_in_the_mixture(mixture):
    plain, rejecting = mixture(), mixture(rejection='[REJ]')
    seen = set()
    for n in range(40):
        sample, other = plain[n], rejecting[n]
        seen.add(sample['source'])
        assert sample['facts'] == other['facts'] == []
        answers = [turns[0][1] for turns in sample['conversations']]
        assert all(answer.count('[SEG]') == 1 for answer in answers)
        rejected = ['[REJ]' in turns[0][1] for turns in other['conversations']]
        assert rejected == [not mask.any() for mask in sample['gt_masks']]
        assert len(other['gt_masks']) == rejected.count(False)
    assert len(seen) == 3
