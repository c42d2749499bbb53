"""Sa2VA's layout for fine-tuning: a phrase and polygons for each object."""

from __future__ import annotations

import pytest

from lisa_mm.datasets import MixtureDataset, Sa2VADataset
from lisa_mm.errors import DataError

from .layouts import READ, areas, batches, box, picture, write


def sa2va(root, *rows, **arguments):
    picture(root / 'images/a.jpg')
    write(root / 'annotations.json', list(rows))
    return Sa2VADataset(str(root), **{'pipeline': READ, 'cache_index': False, **arguments})


# 4 x 4 twice that share 2 x 4: 24 pixels; nothing; 3 x 1 pixels
ROW = {'image': 'a.jpg', 'mask': [[box(0, 0, 4, 4), box(2, 0, 4, 4)], [], [box(0, 0, 3, 1)]], 'text': ['A Cup.', 'a dog', 'Cup']}


def test_each_object_is_a_row(tmp_path):
    sample = sa2va(tmp_path, ROW, test_mode=True)[0]
    assert areas(sample) == [24, 0, 3]
    assert sample['conversations'] == [
        [(f'<image>\n What is {name} in this image? Please output segmentation mask.', '[SEG].')]
        for name in ('a cup', 'a dog', 'cup')
    ]


def test_both_protocols_through_the_whole_pipeline(tmp_path):
    given, generated, masks = batches(lambda **arguments: sa2va(tmp_path, ROW, test_mode=True, **arguments))
    assert (given, generated) == ([1, 1, 1], [0, 0, 0])
    assert masks[0].sum((1, 2)).tolist() == [24, 0, 3]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image='b.jpg'), r'row 1: the image .*images/b.jpg is missing'),
        (dict(text=['x']), r'row 1: it has 3 masks but 1 texts; one of each belongs to an object'),
        (dict(text=['x', '.', 'y']), r"row 1: text\[1\] is '.'; a phrase is needed"),
        (dict(mask=[[[1, 2]], [], []]), r'mask\[0\]'),
    ],
)
def test_damage_is_one_error_that_names_the_row(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        sa2va(tmp_path, ROW, {**ROW, **changes})


def test_an_image_without_an_object_is_left_out(tmp_path):
    dataset = sa2va(tmp_path, ROW, {**ROW, 'mask': [], 'text': []})
    assert (len(dataset), dataset.left_out) == (1, {'images without an object': 1})


def test_training_in_a_mixture_with_rejections(tmp_path):
    sa2va(tmp_path, ROW)
    member = dict(type='Sa2VADataset', data_root=str(tmp_path), rejection='[REJ]', objects_per_image=2)
    mixture = MixtureDataset({'own': [member]}, rates={'own': 1}, pipeline=READ)
    for n in range(30):
        sample = mixture[n]
        asked = [question.partition('\n')[2] for ((question, _),) in sample['conversations']]
        answers = [answer for ((_, answer),) in sample['conversations']]
        assert len(asked) == 2
        for question, answer in zip(asked, answers, strict=True):
            assert ('[REJ]' in answer) == ('a dog' in question)
        assert len(sample['gt_masks']) == sum('[SEG]' in answer for answer in answers)
        assert 0 not in areas(sample)


def test_rows_of_the_simple_schema(tmp_path):
    dataset = sa2va(tmp_path, ROW)
    assert [row['phrase'] for row in dataset.rows(dataset.get_data_info(0))] == ['a cup', 'a dog', 'cup']
    assert len(dataset.objects(dataset.get_data_info(0))) == 3
