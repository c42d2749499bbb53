"""GCG in its four training layouts and the benchmark's: places, phrases without place, masks united and left out, damage."""

from __future__ import annotations

import pytest

from lisa_mm.datasets import GroundedCaptionDataset, MixtureDataset
from lisa_mm.datasets.grounded_caption import QUESTIONS
from lisa_mm.errors import ConfigError, DataError

from .layouts import HEIGHT, READ, WIDTH, areas, batches, box, coded, columns, picture, write

ANNOTATIONS = 'GranDf/annotations'
CAPTION = 'A man in a red hat walks a dog near the sea.'
#          0 2   6  9       18      26          38


def dataset(root, **arguments):
    return GroundedCaptionDataset(str(root), **{'pipeline': READ, 'cache_index': False, **arguments})


# GranD-f and OpenPSG


def grounding(start, end, *masks):
    return {'token_positives': [start, end], 'rle_masks': list(masks)}


def granf(**changes):
    row = {
        'file_name': 'a.jpg',
        'image_id': 'a',
        'caption': f'"{CAPTION}"',
        'groundings': {
            # written out of order; 2 x 3; 4 x 4 and 4 x 4 that share 2 x 4: 24; a crowd of 2 columns: 80
            'the sea': grounding(36, 43, coded(0, 0, 2, 3)),
            'A man': grounding(0, 5, coded(0, 0, 4, 4), coded(2, 0, 4, 4)),
            'a dog': grounding(25, 30, columns(30, 2)),
        },
    }
    return {**row, **changes}


def grandf(root, *rows, **arguments):
    picture(root / 'GranDf/GranDf_HA_images/train/a.jpg')
    write(root / ANNOTATIONS / 'train/GranDf_HA_GCG_train.json', list(rows))
    return dataset(root, **arguments)


def test_granf(tmp_path):
    sample = grandf(tmp_path, granf(), test_mode=True)[0]
    answer = '<p> A man </p> [SEG] in a red hat walks <p> a dog </p> [SEG] near <p> the sea </p> [SEG].'
    assert sample['conversations'] == [[(f'<image>\n{QUESTIONS[0]}', answer)]]
    assert areas(sample) == [24, 80, 6]
    assert sample['facts'] == [{'caption': [CAPTION], 'phrases': ['A man', 'a dog', 'the sea']}]


def test_openpsg_has_other_folders(tmp_path):
    picture(tmp_path / 'coco_2017/train2017/a.jpg')
    write(tmp_path / ANNOTATIONS / 'train/OpenPsgGCG_val.json', [granf()])
    assert areas(dataset(tmp_path, name='openpsg', split='val', test_mode=True)[0]) == [24, 80, 6]


def test_places_that_overlap_or_repeat(tmp_path):
    places = {
        'A man in a red hat': grounding(0, 18, coded(0, 0, 5, 5)),
        'A man': grounding(0, 5, coded(0, 0, 1, 1)),  # begins with it and is shorter
        'a red hat': grounding(9, 18, coded(0, 0, 2, 2)),  # inside it
        'hat walks': grounding(15, 24, coded(0, 0, 3, 3)),  # across its end
        'a dog': grounding(25, 30, coded(0, 0, 4, 1)),
        'one more dog': grounding(25, 31, coded(4, 0, 4, 1)),  # the same place but for a blank
        'near': grounding(31, 35, coded(0, 0, 7, 1)),  # touches its neighbour
    }
    data = grandf(tmp_path, granf(groundings=places), test_mode=True)
    sample = data[0]
    assert sample['conversations'][0][0][1] == (
        '<p> A man in a red hat </p> [SEG] walks <p> a dog </p> [SEG] <p> near </p> [SEG] the sea.'
    )
    assert areas(sample) == [25, 8, 7]
    assert data.left_out == {'phrases that overlap one before them in their caption': 3}
    assert data.notes == {
        'phrases of the same place, whose masks are united': 1,
        'phrases whose place in the caption has another text, which is read': 1,
    }


def test_captions_and_phrases_without_a_mask_are_left_out_with_their_counts(tmp_path):
    without = {'A man': grounding(0, 5), 'a dog': grounding(25, 30)}
    data = grandf(tmp_path, granf(), granf(groundings={}), granf(groundings=without))
    assert len(data) == 1
    assert data.left_out == {'phrases without a mask': 2, 'captions without a phrase that has a mask': 2}
    with pytest.raises(DataError, match=r'is empty: no record was found. 1 left out: captions without a phrase that has a mask'):
        grandf(tmp_path, granf(groundings={}))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(file_name='b.jpg'), r'row 1: the image .*train/b.jpg is missing'),
        (dict(groundings={'x': grounding(36, 45, columns(0, 1))}), r'row 1: the place \[36, 45\] of a phrase lies outside .* 44'),
        (dict(groundings={'x': grounding(5, 6, columns(0, 1))}), r'row 1: the place \[5, 6\] of a phrase holds blanks alone'),
        (dict(groundings={'x': grounding(5, 5, columns(0, 1))}), r'groundings.x.token_positives: it is \[5, 5\]; \[start, end\]'),
        (dict(groundings={'x': grounding(-1, 5, columns(0, 1))}), r'groundings.x.token_positives: it is \[-1, 5\]'),
        (dict(groundings={'x': {'token_positives': [0, 5]}}), r'groundings.x.rle_masks is missing'),
        (dict(groundings={'x': grounding(0, 5, {'size': [2, 2], 'counts': [3]})}), r'its counts cover 3 pixels'),
        (dict(caption='""'), r'row 1: its caption is empty'),
        (dict(caption='A man and [SEG]'), r'row 1: its caption holds \[SEG\]'),
        (dict(caption='A man <p>'), r'row 1: its caption holds <p>'),
        (dict(caption='A man <image>'), r'row 1: its caption holds <image>'),
    ],
)
def test_damage_is_one_error_that_names_the_row(tmp_path, changes, message):
    whole = {'caption': CAPTION, 'groundings': {'A man': grounding(0, 5, columns(0, 1))}}
    with pytest.raises(DataError, match=message):
        grandf(tmp_path, granf(), granf(**{**whole, **changes}))


def test_a_mask_of_another_size_is_an_error_when_it_is_drawn(tmp_path):
    small = {'size': [2, 2], 'counts': [3, 1]}
    data = grandf(tmp_path, granf(groundings={'A man': grounding(0, 5, small)}))
    with pytest.raises(DataError, match=r'train.json:0: the mask is \(2, 2\) but the image \(40, 48\)'):
        data[0]


# refCOCOg


def ref(sentence, *polygons):
    return {'sentence': sentence, 'segmentation': list(polygons), 'bbox': [0, 0, 1, 1], 'category_id': 1}


def refcocog(root, *rows, **arguments):
    picture(root / 'coco_2014/train2014/a.jpg')
    write(root / ANNOTATIONS / 'train/RefCOCOg_GCG_train.json', list(rows))
    return dataset(root, name='refcocog', **arguments)


def test_phrases_of_refcocog_are_looked_for_as_words(tmp_path):
    refs = [
        ref('Dog', box(0, 0, 2, 2), box(1, 0, 2, 2)),  # 4 + 4 pixels that share 2: 6
        ref('man', box(0, 0, 3, 3)),  # not inside "woman"
        ref('man', box(10, 0, 1, 2)),  # the same phrase: 9 + 2
        ref('a cat', box(0, 0, 1, 5)),  # no word of the caption
        ref('woma', box(0, 0, 1, 5)),
    ]
    row = {'img_file_name': 'a.jpg', 'caption': '"A Woman, a MAN and their DOG"', 'refs': refs}
    data = refcocog(tmp_path, {'391895': row}, row, test_mode=True)  # the published file has {id: row}
    for number in range(2):
        sample = data[number]
        assert sample['conversations'][0][0][1] == 'a woman, a <p> man </p> [SEG] and their <p> dog </p> [SEG]'
        assert areas(sample) == [11, 6]
        assert sample['facts'] == [{'caption': ['a woman, a man and their dog'], 'phrases': ['man', 'dog']}]
    assert data.left_out == {'phrases that are no words of their caption': 4}
    assert data.notes == {'phrases of the same place, whose masks are united': 2}


def test_damage_in_refcocog(tmp_path):
    with pytest.raises(DataError, match=r'row 0: refs\[0\].segmentation is missing'):
        refcocog(tmp_path, {'1': {'img_file_name': 'a.jpg', 'caption': 'a man', 'refs': [{'sentence': 'man'}]}})
    with pytest.raises(DataError, match=r'row 0: the record is 3; an object'):
        refcocog(tmp_path, 3)


# Flickr30k


def flickr_image(number=1, **changes):
    return {'id': number, 'file_name': 'a.jpg', 'caption': CAPTION, 'height': HEIGHT, 'width': WIDTH, **changes}


def phrase(number, start, end, mask, **changes):
    entry = {'id': number, 'image_id': 1, 'tokens_positive': [[start, end]], 'sam_mask': mask, 'category_id': 1, 'iscrowd': 0}
    return {**entry, 'bbox': [0, 0, 4, 4], 'area': 16, **changes}


def flickr(root, annotations, images=None, **arguments):
    picture(root / 'flikcr_30k/train/a.jpg')
    content = {'images': images or [flickr_image()], 'annotations': annotations, 'categories': [{'id': 1, 'name': 'object'}]}
    write(root / ANNOTATIONS / 'train/flickr_mergedGT_GCG_train.json', content)
    return dataset(root, name='flickr', **arguments)


def test_flickr(tmp_path):
    annotations = [
        phrase(1, 25, 30, coded(0, 0, 3, 2)),
        phrase(2, 0, 5, coded(0, 0, 4, 4)),
        phrase(3, 0, 5, columns(10, 1)),  # a second box of the same phrase: 16 + 40
        phrase(4, 36, 43, coded(0, 0, 9, 1), tokens_positive=[[36, 43], [0, 1]]),
        phrase(5, 9, 18, coded(0, 0, 1, 1), ignore=True),
        phrase(6, 9, 18, coded(0, 0, 1, 1), area=0),
        phrase(7, 9, 18, coded(0, 0, 1, 1), bbox=[0, 0, 0.5, 4]),
        phrase(8, 9, 18, coded(0, 0, 1, 1), bbox=[WIDTH, 0, 4, 4]),
    ]
    images = [
        flickr_image(),
        flickr_image(2, caption='Two words'),
        flickr_image(3, height=31),
        flickr_image(4),
    ]
    data = flickr(tmp_path, annotations, images, test_mode=True)
    assert len(data) == 1
    sample = data[0]
    answer = '<p> A man </p> [SEG] in a red hat walks <p> a dog </p> [SEG] near <p> the sea </p> [SEG].'
    assert sample['conversations'][0][0][1] == answer
    assert areas(sample) == [56, 6, 9]
    assert data.left_out == {
        'annotations that are to be ignored, or whose box has no area in the image': 4,
        'captions of fewer than 3 words': 1,
        'images with a side below 32': 1,
        'captions without a phrase that has a mask': 1,
    }
    assert data.notes == {
        'phrases of the same place, whose masks are united': 1,
        'annotations of several places in the caption, of which the first is read': 1,
    }


def test_an_annotation_that_is_there_twice_counts_once(tmp_path):
    twice = [phrase(1, 0, 5, columns(10, 1))] * 2
    data = flickr(tmp_path, twice)
    assert areas(data[0]) == [40]
    assert data.notes == {'flickr_mergedGT_GCG_train.json: annotation entries that are there twice, equal': 1}


@pytest.mark.parametrize(
    ('annotations', 'message'),
    [
        ([phrase(1, 0, 5, coded(0, 0, 1, 1), image_id=9)], r'annotation 1 names image 9, which is not among the 1 images'),
        ([phrase(1, 0, 5, {'size': [2, 2], 'counts': [4]})], r'annotation 1: the mask is \(2, 2\) but the image \(40, 48\)'),
        ([phrase(1, 0, 5, coded(0, 0, 1, 1)), phrase(1, 0, 6, coded(0, 0, 1, 1))], 'annotation 1 is there twice, with different'),
        ([phrase(1, 0, 45, coded(0, 0, 1, 1))], r'image 1: the place \[0, 45\] of a phrase lies outside the caption'),
        ([phrase(1, 0, 5, coded(0, 0, 1, 1), tokens_positive=[])], r'annotation 1: tokens_positive has 0 items'),
        ([{'id': True}], r'annotations\[0\]: '),
    ],
)
def test_damage_in_flickr(tmp_path, annotations, message):
    with pytest.raises(DataError, match=message):
        flickr(tmp_path, annotations)


# The benchmark


def drawn(number, image, mask):
    return {
        'id': number,
        'image_id': image,
        'category_id': 1,
        'segmentation': mask,
        'area': 1,
        'bbox': [0, 0, 1, 1],
        'iscrowd': 0,
    }


def told(number, image, caption, labels):
    return {'id': number, 'image_id': image, 'caption': caption, 'labels': labels}


MASKS = [
    drawn(1, 'sa_1', coded(0, 0, 2, 2)),
    drawn(2, 'sa_1', coded(0, 0, 3, 3)),
    drawn(3, 'sa_1', columns(0, 1)),
    drawn(4, 'sa_2', coded(0, 0, 1, 5)),
]
TOLD = [
    told(1, 'sa_1', 'A dog and a man.', ['man', 'a tree', 'A DOG']),
    told(2, 'sa_1', 'Another caption.', ['not read']),
    told(3, 'sa_2', 'A cat.', ['cat', 'tail']),
    told(4, 'sa_3', 'The sky.', []),
]


def benchmark(root, captions=None, masks=None, **arguments):
    for name in ('sa_1', 'sa_2', 'sa_3'):
        picture(root / f'GranDf/GranDf_HA_images/val_test/{name}.jpg')
    images = [{'id': name, 'height': HEIGHT, 'width': WIDTH} for name in ('sa_1', 'sa_2', 'sa_3')]
    folder = root / ANNOTATIONS / 'val_test'
    write(folder / 'val_gcg_coco_caption_gt.json', {'images': images, 'annotations': captions or TOLD})
    masks = {'images': images, 'annotations': MASKS if masks is None else masks, 'categories': [{'id': 1, 'name': 'x'}]}
    write(folder / 'val_gcg_coco_mask_gt.json', masks)
    return dataset(root, **{'split': 'val', 'test_mode': True, **arguments})


def test_the_benchmark_asks_one_question_an_image(tmp_path):
    data = benchmark(tmp_path)
    samples = [data[n] for n in range(3)]
    assert [sample['conversations'][0][0] for sample in samples] == [
        # "a tree" stands nowhere, so it comes behind; masks and phrases follow the answer
        (
            f'<image>\n{QUESTIONS[0]}',
            '<p> A dog </p> [SEG] and a <p> man </p> [SEG]. <p> a tree </p> [SEG]',
        ),
        (f'<image>\n{QUESTIONS[0]}', 'A cat. [SEG]'),  # two labels for one mask: it has no phrase
        (f'<image>\n{QUESTIONS[0]}', 'The sky.'),
    ]
    assert [areas(sample) for sample in samples] == [[40, 4, 9], [5], []]
    assert [sample['facts'] for sample in samples] == [
        [{'caption': ['A dog and a man.', 'Another caption.'], 'phrases': ['A DOG', 'man', 'a tree']}],
        [{'caption': ['A cat.'], 'phrases': []}],
        [{'caption': ['The sky.'], 'phrases': []}],
    ]
    assert data.notes == {'images with another number of labels than of masks: their masks have no phrases': 1}


def test_both_protocols_through_the_whole_pipeline(tmp_path):
    given, generated, masks = batches(lambda **arguments: benchmark(tmp_path, **arguments))
    assert (given, generated) == ([3, 1, 0], [0, 0, 0])
    assert [tuple(of_image.shape) for of_image in masks] == [(count, HEIGHT, WIDTH) for count in (3, 1, 0)]


def test_damage_in_the_benchmark(tmp_path):
    with pytest.raises(DataError, match=r"caption_gt.json: image 'sa_3' has no caption"):
        benchmark(tmp_path, captions=TOLD[:3])
    with pytest.raises(DataError, match=r"mask_gt.json: annotation 9 names image 'sa_9', which is not among the 3 images"):
        benchmark(tmp_path, masks=[drawn(9, 'sa_9', columns(0, 1))])
    (tmp_path / 'GranDf/GranDf_HA_images/val_test/sa_2.jpg').unlink()
    with pytest.raises(DataError, match=r"image 'sa_2': the image .*val_test/sa_2.jpg is missing"):
        dataset(tmp_path, split='val')
    with pytest.raises(DataError, match=r'test_gcg_coco_caption_gt.json'):
        dataset(tmp_path, split='test')


# Arguments and training


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(split='vall'), r"split is 'vall'; allowed: 'train', 'val', 'test'. Did you mean 'val'"),
        (dict(name='flickr', split='test'), r"split is 'test', but flickr has 'train' and 'val'"),
        (dict(name='granf'), r"name is 'granf'; allowed: 'grandf'"),
        (dict(bare=0.5), r'bare is 0.5, but its questions and answers are those of the file'),
        (dict(rejection='[REJ]'), r"rejection is '\[REJ\]', but its questions and answers"),
    ],
)
def test_arguments(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        dataset(tmp_path, **arguments)


def test_training_in_a_mixture(tmp_path):
    grandf(tmp_path, granf())
    flickr(tmp_path, [phrase(1, 0, 5, columns(0, 1))])
    members = [dict(type='GroundedCaptionDataset', name=name, data_root=str(tmp_path)) for name in ('grandf', 'flickr')]
    mixture = MixtureDataset({'caption': members}, rates={'caption': 1}, pipeline=READ)
    samples = [mixture[n] for n in range(60)]
    assert {sample['conversations'][0][0][0].partition('\n')[2] for sample in samples} == set(QUESTIONS)
    wanted = {'GCG grandf train': [24, 80, 6], 'GCG flickr train': [40]}
    assert {sample['source'] for sample in samples} == set(wanted)
    assert all(areas(sample) == wanted[sample['source']] and sample['facts'] == [] for sample in samples)
