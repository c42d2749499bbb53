"""MUSE: several targets a question, of one or several annotations, and published questions that do not fit their targets."""

from __future__ import annotations

import pytest

from lisa_mm.datasets import MixtureDataset, MuseDataset
from lisa_mm.errors import ConfigError, DataError

from .layouts import HEIGHT, READ, WIDTH, areas, batches, box, columns, picture, write

IMAGES = 'refer_seg/images/mscoco/images'


def note(*parts, **names):
    """An annotation of polygons, or of one RLE."""
    segmentation = parts[0] if isinstance(parts[0], dict) else list(parts)
    return {'segmentation': segmentation, 'bbox': [0, 0, 1, 1], 'category_name': 'thing', 'id': 1, 'image_id': 2, **names}


def row(**changes):
    """Three questions: one target; a target of two annotations that overlap, beside a crowd; names instead of an answer."""
    whole = {
        'file_name': 'COCO_train2014_000000000009.jpg',
        'height': HEIGHT,
        'width': WIDTH,
        'ann_list': [],
        'questions': ['Which one holds tea?', 'Which two belong together?', 'What is on the table?'],
        'answers': [
            # 5 x 4 and 2 x 3 apart: 26 pixels
            [note(box(0, 0, 5, 4), box(10, 10, 2, 3))],
            # 6 x 6 and 6 x 6 that share 3 x 6: 54 pixels; then 3 columns: 120
            [[note(box(0, 0, 6, 6)), note(box(3, 0, 6, 6))], note(columns(40, 3), iscrowd=1)],
            [note(box(0, 0, 2, 2), rephrased_name='the blue cup'), note(box(4, 4, 3, 1))],
        ],
        'text_answers': ['The cup {seg}.', 'The pair {seg} and the crowd {seg}, as {all} see.', None],
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def muse(root, *rows, split='val', images=('train2014/COCO_train2014_000000000009.jpg',), **arguments):
    for name in images:
        picture(root / IMAGES / name)
    write(root / f'muse/muse_{split}.json', list(rows))
    return MuseDataset(str(root), split=split, **{'pipeline': READ, 'cache_index': False, **arguments})


def test_each_question_is_a_row_with_its_targets(tmp_path):
    dataset = muse(tmp_path, row(), test_mode=True)
    sample = dataset[0]
    assert [turns[0] for turns in sample['conversations']] == [
        ('<image>\n Which one holds tea? Please output segmentation mask.', 'The cup [SEG].'),
        (
            '<image>\n Which two belong together? Please output segmentation mask.',
            'The pair [SEG] and the crowd [SEG], as {all} see.',
        ),
        ('<image>\n What is on the table? Please output segmentation mask.', 'the blue cup [SEG] and thing [SEG].'),
    ]
    assert areas(sample) == [26, 54, 120, 4, 3]
    assert sample['facts'] == [{'phrases': ['thing']}, {'phrases': ['thing', 'thing']}, {'phrases': ['the blue cup', 'thing']}]
    assert dataset.title == 'MUSE val'


def test_both_protocols_through_the_whole_pipeline(tmp_path):
    given, generated, masks = batches(lambda **arguments: muse(tmp_path, row(), row(), test_mode=True, **arguments))
    assert given == [1, 2, 2, 1, 2, 2]
    assert generated == [0] * 6
    assert [tuple(of_image.shape) for of_image in masks] == [(5, HEIGHT, WIDTH)] * 2


@pytest.mark.parametrize('answer', ['The pair {seg}.', 'The {seg} {seg} and {seg}.', 'Nothing.'])
def test_another_number_of_places_than_of_targets_is_left_out_with_its_count(tmp_path, answer):
    texts = ['The cup {seg}.', answer, None]
    dataset = muse(tmp_path, row(text_answers=texts), row(questions=[], answers=[], text_answers=[]), test_mode=True)
    assert areas(dataset[0]) == [26, 4, 3]
    assert dataset.left_out == {
        'questions whose answer has another number of {seg} than of targets': 1,
        'images without a question': 1,
    }
    assert len(dataset) == 1


def test_a_question_without_a_target_is_left_out(tmp_path):
    one = row(questions=['a', 'b'], answers=[[], [note(box(0, 0, 2, 2))]], text_answers=['None.', '{seg}'])
    dataset = muse(tmp_path, one, test_mode=True)
    assert len(dataset[0]['conversations']) == 1
    assert dataset.left_out == {'questions without a target': 1}
    with pytest.raises(DataError, match=r'is empty: no record was found. 1 left out: questions without a target'):
        muse(tmp_path, row(questions=['a'], answers=[[]], text_answers=['None.']))


def test_images_by_address(tmp_path):
    urls = [f'http://images.cocodataset.org/{folder}/000000000025.jpg' for folder in ('train2017', 'val2017')]
    rows = [row(file_name=..., coco_url=url) for url in urls]
    dataset = muse(tmp_path, *rows, images=['train2017/000000000025.jpg', 'val2017/000000000025.jpg'], test_mode=True)
    found = [dataset[n]['img_path'] for n in range(2)]
    assert found == [str(tmp_path / IMAGES / folder / '000000000025.jpg') for folder in ('train2017', 'val2017')]
    with pytest.raises(
        DataError, match=r"coco_url is 'http://x/test2017/1.jpg'; its last two steps must be train2017 or val2017"
    ):
        muse(tmp_path, row(file_name=..., coco_url='http://x/test2017/1.jpg'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(file_name='COCO_train2014_1.jpg'), r'row 1: the image .*train2014/COCO_train2014_1.jpg is missing'),
        (dict(file_name=...), r'row 1: file_name \(an image of train2014\) or coco_url .* is needed'),
        (dict(questions=['a']), r'row 1: it has 1 questions, 3 answers, 3 text_answers; one of each belongs to a question'),
        (dict(answers=[[note(box(0, 0, 1, 1))], [3], []]), r'answers\[1\]\[0\] is 3; an annotation, or a list of annotations'),
        (dict(answers=[[[]], [], []]), r'answers\[0\]\[0\] has 0 items; at least 1'),
        (dict(answers=[[{'bbox': []}], [], []]), r'answers\[0\]\[0\].segmentation is missing'),
        (dict(answers=[[note([1, 2, 3, 4, 5])], [], []]), r'a polygon needs x and y of at least 3 points; it has 5 values'),
        (dict(height=41), r'questions\[1\]: the mask is \(40, 48\) but the image \(41, 48\)'),
        (dict(text_answers=['[SEG] {seg}', None, None]), r'2 \[SEG\] in its answers but 1 masks'),
        (dict(questions=['a [SEG]?', 'b', 'c']), r"the question 'a \[SEG\]\?' holds \[SEG\], which only answers may"),
        (dict(questions=['<image> a', 'b', 'c']), r'it holds <image>, which is put before the question'),
    ],
)
def test_damage_is_one_error_that_names_the_row(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        muse(tmp_path, row(), row(**changes), test_mode=True)
    kept = muse(tmp_path, row(), row(**changes), test_mode=True, skip_bad=True)
    assert (len(kept), kept.left_out['broken (skip_bad=True)']) == (1, 1)


def test_a_mask_for_another_image_is_an_error_when_it_is_drawn(tmp_path):
    polygons = row(height=HEIGHT + 1, questions=['a'], answers=[[note(box(0, 0, 2, 2))]], text_answers=None)
    with pytest.raises(DataError, match=r'muse_val.json:0: its annotation is for an image of \(41, 48\)'):
        muse(tmp_path, polygons, test_mode=True)[0]


def test_splits_and_words(tmp_path):
    with pytest.raises(ConfigError, match=r"MuseDataset.split is 'test'; allowed: 'train', 'val', 'test_less', 'test_many'"):
        MuseDataset(str(tmp_path), split='test')
    with pytest.raises(ConfigError, match=r"MuseDataset.rejection is '\[REJ\]', but its answers are those of the file"):
        MuseDataset(str(tmp_path), rejection='[REJ]')
    with pytest.raises(DataError, match=r'muse/muse_test_less.json'):
        MuseDataset(str(tmp_path), split='test_less')


def test_training_in_a_mixture(tmp_path):
    muse(tmp_path, row(), split='train')
    member = dict(type='MuseDataset', data_root=str(tmp_path), questions_per_image=2, bare=0.5)
    mixture = MixtureDataset({'several': [member]}, rates={'several': 1}, pipeline=READ)
    seen = set()
    for n in range(40):
        sample = mixture[n]
        assert sample['group'] == 'several'
        assert len(sample['conversations']) == 2
        answers = ' '.join(turns[0][1] for turns in sample['conversations'])
        assert len(sample['gt_masks']) == answers.count('[SEG]')
        # the masks of a question stay together and in order
        by_question = {'The cup [SEG].': [26], 'the blue cup [SEG] and thing [SEG].': [4, 3]}
        wanted = [area for turns in sample['conversations'] for area in by_question.get(turns[0][1], [54, 120])]
        assert areas(sample) == wanted
        assert sample['facts'] == []
        seen |= {turns[0][0] for turns in sample['conversations']}
    assert '<image>\nWhich one holds tea?' in seen
    assert '<image>\nWhich one holds tea? Please output segmentation mask.' in seen


def test_rows_of_the_simple_schema(tmp_path):
    dataset = muse(tmp_path, row())
    rows = dataset.rows(dataset.get_data_info(0))
    assert [(one['turns'][0][1].count('[SEG]'), len(one['masks'])) for one in rows] == [(1, 1), (2, 2), (2, 2)]
    assert len(dataset.objects(dataset.get_data_info(0))) == 5
