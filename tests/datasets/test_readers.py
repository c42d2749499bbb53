"""Readers on data of every published format: what is left out, how masks are made, what is refused, what is kept on disk."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset, PartSegDataset, ReferSegDataset, SemSegDataset, VQADataset
from lisa_mm.datasets.base import BaseSegDataset
from lisa_mm.datasets.index import CACHE_VARIABLE, RecordIndex
from lisa_mm.datasets.masks import decode_mask
from lisa_mm.datasets.reading import read_refs
from lisa_mm.datasets.refer_seg import in_split
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import DataError

from .golden_root import GOLDEN, copy_root


def test_overlapping_polygons_stay_one():
    square = [0, 0, 4, 0, 4, 4, 0, 4]
    mask = decode_mask({'segmentations': [square, square], 'size': [6, 6]}, 6, 6, 'x')
    assert mask.max() == 1
    assert mask.sum() == 16
    assert decode_mask({'segmentations': []}, 6, 6, 'x').sum() == 0


def test_a_pickle_with_anything_else_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('run',))

    path = tmp_path / 'refs(unc).p'
    for content in ([Evil()], [np.array([1])]):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r'refs\(unc\)\.p is no pickle of referring expressions: it asks for'):
            read_refs(path)
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps([{'ref_id': np.int64(7), 'sentences': [{'sent': 'é'}]}], protocol=protocol))
        assert read_refs(path) == [{'ref_id': 7, 'sentences': [{'sent': 'é'}]}]


def test_splits_of_refclef():
    assert [in_split('testAB', f'test{c}') for c in 'ABC'] == [True, True, False]
    assert not in_split('train', 'test')
    with pytest.raises(DataError, match="no expression of split 'testA'; splits found"):
        ReferSegDataset(str(GOLDEN), name='refcoco', split='testA')


def test_several_and_no_targets():
    dataset = ReferSegDataset(str(GOLDEN), name='grefcoco', pipeline=[LoadImage(), DecodeMasks()])
    counts = [len(ref['mask']['segmentations']) for n in range(len(dataset)) for ref in dataset.get_data_info(n)['refs']]
    assert min(counts) == 0
    assert max(counts) >= 2
    assert all(dataset[n]['gt_masks'].max(initial=0) <= 1 for n in range(10))


def label_maps(root, names=('a',), readable=('Car', 'Car', 'Unlabeled')):
    """A Mapillary of 4 x 4 images whose columns are the classes."""
    images, maps = root / 'mapillary/training/images', root / 'mapillary/training/v2.0/labels'
    for folder in (images, maps):
        folder.mkdir(parents=True)
    (root / 'mapillary/config_v2.0.json').write_text(json.dumps({'labels': [{'readable': name} for name in readable]}))
    for name in names:
        Image.new('RGB', (4, 4)).save(images / f'{name}.jpg')
        Image.fromarray(np.tile(np.array([0, 1, 2, 255], np.uint8), (4, 1))).save(maps / f'{name}.png')
    return maps


def test_classes_by_index_though_names_repeat(tmp_path):
    label_maps(tmp_path)
    dataset = SemSegDataset(str(tmp_path), name='mapillary', pipeline=[LoadImage(), DecodeMasks()])
    sample = dataset[0]
    assert sorted(mask[0].tolist() for mask in sample['gt_masks']) == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert not any('unlabeled' in turns[0][0] for n in range(20) for turns in dataset[n]['conversations'])


def test_images_without_a_class_are_counted(tmp_path):
    maps = label_maps(tmp_path, names=('a', 'b'))
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(maps / 'b.png')
    dataset = SemSegDataset(str(tmp_path), name='mapillary')
    assert len(dataset) == 1
    assert dataset.left_out == {'no class that can be asked for': 1}
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(maps / 'a.png')
    with pytest.raises(DataError, match='2 left out: no class'):
        SemSegDataset(str(tmp_path), name='mapillary')


def test_a_root_that_is_called_images(tmp_path):
    root = copy_root(tmp_path / 'images' / 'labels')
    dataset = SemSegDataset(str(root), name='ade20k', pipeline=[LoadImage(), DecodeMasks()])
    assert dataset[0]['gt_masks'].any()


def test_half_of_the_parts_are_called_the_part_of_the_object():
    dataset = PartSegDataset(str(GOLDEN), name='pascal_part')
    asked = [turns[0][0] for n in range(300) for turns in dataset[n]['conversations']]
    share = sum(' of the ' in question for question in asked) / len(asked)
    assert 0.4 < share < 0.6  # over 400 questions, 4 sigma


def llava(tmp_path, rows):
    (tmp_path / 'images').mkdir(exist_ok=True)
    Image.new('RGB', (6, 4)).save(tmp_path / 'images' / 'a.jpg')
    (tmp_path / 'my_chat.json').write_text(json.dumps(rows))
    return VQADataset(
        str(tmp_path), file='my_chat.json', image_folder='images', test_mode=True, pipeline=[LoadImage(), DecodeMasks()]
    )


def talk(*texts):
    return [{'from': 'human' if i % 2 == 0 else 'gpt', 'value': text} for i, text in enumerate(texts)]


def test_llava_rows(tmp_path):
    square = [[0, 0], [3, 0], [3, 3], [0, 3]]
    dataset = llava(
        tmp_path,
        [
            {'conversations': talk('Hi', 'Hello.')},
            {'image': 'a.jpg', 'conversations': talk('Where?\n<image>', 'Here [SEG].', 'And?', 'No more.'), 'masks': [square]},
            {'image': 'a.jpg', 'conversations': talk('No mark', 'Yes.')},
        ],
    )
    text, seg, unmarked = (dataset[n] for n in range(3))
    assert text['conversations'] == [[('Hi', 'Hello.')]]
    assert text['gt_masks'].shape == (0, 32, 32)
    assert seg['conversations'] == [[('<image>\nWhere?', 'Here [SEG].'), ('And?', 'No more.')]]
    assert seg['gt_masks'].sum() == 9
    assert unmarked['conversations'][0][0][0] == '<image>\nNo mark'


def own(tmp_path, rows, name='my.json', **arguments):
    Image.new('RGB', (6, 4)).save(tmp_path / 'a.jpg')
    Image.fromarray(np.eye(4, 6, dtype=np.uint8) * 255).save(tmp_path / 'm.png')
    lines = json.dumps(rows) if name.endswith('json') else '\n'.join(map(json.dumps, rows))
    (tmp_path / name).write_text(lines)
    return JsonlSegDataset(str(tmp_path), file=name, pipeline=[LoadImage(), DecodeMasks()], **arguments)


@pytest.mark.parametrize('name', ['my.json', 'my.jsonl'])
def test_the_simple_schema(tmp_path, name):
    rle = {'size': [4, 6], 'counts': [0, 4, 20]}
    rows = [
        {'image': 'a.jpg', 'question': 'Two?', 'answer': 'A [SEG] and B [SEG].', 'masks': ['m.png', rle]},
        {'question': 'Hi', 'answer': 'Hello.'},
    ]
    dataset = own(tmp_path, rows, name)
    samples = {sample['sample_id']: sample for sample in (dataset[n] for n in range(2))}
    assert samples['a.jpg']['conversations'] == [[('<image>\nTwo?', 'A [SEG] and B [SEG].')]]
    assert [int(mask.sum()) for mask in samples['a.jpg']['gt_masks']] == [4, 4]
    assert any(sample['gt_masks'].shape[0] == 0 for sample in samples.values())


def test_several_masks_without_an_answer_are_one_target(tmp_path):
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    dataset = own(tmp_path, [{'image': 'a.jpg', 'question': 'Which?', 'masks': ['m.png', square]}])
    assert dataset[0]['gt_masks'].tolist() == [[[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]]]
    assert '[SEG]' in dataset[0]['conversations'][0][0][1]
    test = own(tmp_path, [{'image': 'a.jpg', 'question': 'Which?', 'masks': [square]}], test_mode=True)
    assert test[0]['conversations'] == [[('<image>\n Which? Please output segmentation mask.', '[SEG].')]]


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ({'image': 'a.jpg'}, r'row \d: one of phrase, question .* is needed; keys found: image'),
        ({'image': 'a.jpg', 'phrase': ' ', 'masks': []}, r'row \d: phrase: it is empty'),
        ({'image': 'b.jpg', 'phrase': 'x', 'masks': []}, 'b.jpg is missing'),
        ({'image': 'a.jpg', 'phrase': 'x', 'masks': [[[1, 1], [2, 2]]]}, 'at least 3 points'),
        ({'image': 'a.jpg', 'phrase': 'x', 'masks': ['no.png']}, 'no.png is missing'),
        ({'image': 'a.jpg', 'question': 'q', 'answer': '[SEG] [SEG]', 'masks': ['m.png']}, r'2 \[SEG\] in its answers but 1'),
        ({'image': 'a.jpg', 'turns': [['q']], 'masks': []}, r'row \d: turns: a turn is \[question, answer\]; one has 1 texts'),
    ],
)
def test_broken_rows_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        own(tmp_path, [{'question': 'Hi', 'answer': 'Hello.'}, row])
    kept = own(tmp_path, [{'question': 'Hi', 'answer': 'Hello.'}, row], skip_bad=True)
    assert len(kept) == 1
    assert kept.left_out == {'broken (skip_bad=True)': 1}
    with pytest.raises(DataError, match=message):
        own(tmp_path, [row], skip_bad=True)  # wholly broken: refused all the same


def test_the_index_is_kept_and_made_anew_when_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / 'cache'))
    root = copy_root(tmp_path / 'root')
    first = ReferSegDataset(str(root), name='refcoco')
    files = sorted(path.name for path in (tmp_path / 'cache').iterdir())
    assert len(files) == 4
    again = ReferSegDataset(str(root), name='refcoco')
    assert isinstance(again.index.data, np.memmap)
    assert [again.get_data_info(n) for n in range(len(again))] == [first.get_data_info(n) for n in range(len(first))]
    path = root / 'refer_seg/refcoco/refs(unc).p'
    refs = pickle.loads(path.read_bytes())
    refs[0]['sentences'][0]['sent'] = 'a new sentence'
    path.write_bytes(pickle.dumps(refs))
    changed = ReferSegDataset(str(root), name='refcoco')
    assert 'a new sentence' in str(changed.get_data_info(0))
    assert len(list((tmp_path / 'cache').iterdir())) == 4  # the old one is gone
    monkeypatch.setenv(CACHE_VARIABLE, 'off')
    assert not isinstance(ReferSegDataset(str(root), name='refcoco').index.data, np.memmap)


def test_an_index_of_nothing_and_a_selection():
    assert len(RecordIndex.from_records([])) == 0
    index = RecordIndex.from_records([{'a': i, 'text': 'é' * i} for i in range(5)])
    assert [record['a'] for record in (index.select(np.array([4, 2]))[i] for i in range(2))] == [4, 2]


def test_a_plugin_needs_two_methods(tmp_path):
    from lisa_mm.datasets.base import Asked

    class Mine(BaseSegDataset):
        def load_data_list(self):
            return [{'sample_id': 'a', 'img_path': None}]

        def ask(self, record, rng):
            return Asked([[('Hi', 'Hello.')]], [])

    assert Mine()[3]['conversations'] == [[('Hi', 'Hello.')]]


@pytest.mark.parametrize('name', ['json', 'data.npy'])
def test_an_index_that_cannot_be_read_is_made_anew(tmp_path, name):
    index = RecordIndex.from_records([{'a': i} for i in range(5)])
    (plain := tmp_path / 'plain').touch()
    index.save(tmp_path / 'index', 'f')
    for file in tmp_path.iterdir():
        assert file.stat().st_mode == plain.stat().st_mode, 'a group shares the cache'
    assert len(RecordIndex.open(tmp_path / 'index', 'f')) == 5
    (tmp_path / f'index.{"f." if name != "json" else ""}{name}').write_bytes(b'{"cut')
    assert RecordIndex.open(tmp_path / 'index', 'f') is None
