"""What the readers say about given images, texts and classes, against the original's training items and pairs."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache

import numpy as np
import pytest

from lisa_mm.datasets import PartSegDataset, ReasonSegDataset, ReferSegDataset, SemSegDataset, VQADataset, prompts
from lisa_mm.datasets.classes import class_names
from lisa_mm.datasets.masks import decode_mask, read_label_map
from lisa_mm.datasets.sem_seg import value_names

TEMPLATES = {
    'short': (prompts.SHORT_QUESTIONS, 'name'),
    'long': (prompts.LONG_QUESTIONS, 'sentence'),
    'explain': (prompts.EXPLANATORY_QUESTIONS, 'sentence'),
}


def read(golden, name):
    return json.loads((golden.root / 'data' / name).read_text())


@cache
def reader(root, kind, sub):
    """Our data set for a golden 'kind' and 'sub'; everything may be asked, as in the original."""
    if kind == 'sem_seg':
        return SemSegDataset(root, name=sub, never_asked=())
    if kind == 'sem_seg_part':
        return PartSegDataset(root, name=sub)
    if kind == 'refer_seg':
        return ReferSegDataset(root, name=sub)
    if kind == 'vqa':
        return VQADataset(root, file=f'llava_dataset/{sub}.json')
    return ReasonSegDataset(root, split=sub.split('|')[1])


def record_of(golden, entry):
    root = str(golden.root / 'dataset')
    dataset = reader(root, entry['kind'], entry['sub'])
    path = str(golden.root / 'dataset' / entry['image'])
    found = [r for r in (dataset.get_data_info(n) for n in range(len(dataset))) if r['img_path'] == path]
    return dataset, found


def masks_for(dataset, record, text, shape):
    """Every mask a text of a record may stand for, decoded."""
    if isinstance(dataset, ReasonSegDataset):
        specs = [{'shapes': t['shapes']} for t in record['targets'] if text in t['text']]
    else:
        specs = [t.mask for t in dataset.things(record) if text.strip().lower() in [s.lower() for s in t.spellings]]
    return [(decode_mask(spec, *shape, record['sample_id']) == 1).astype(np.uint8) for spec in specs]


def test_every_pair_of_text_and_mask(golden):
    arrays = np.load(golden.root / 'data' / 'pairs_masks.npz')
    pairs = read(golden, 'pairs.json')
    for pair in pairs:
        wanted = np.minimum(arrays[f'mask_{pair["id"]}'], 1)
        dataset, records = record_of(golden, pair)
        assert len(records) == 1, pair
        candidates = masks_for(dataset, records[0], pair['text'], wanted.shape[-2:])
        assert any((mask == wanted.reshape(mask.shape)).all() for mask in candidates), pair
    assert pairs


def test_nothing_beyond_the_pairs(golden):
    """The other way round: every text and mask of ours is one of the original's (of images that its draws reached)."""
    pairs = read(golden, 'pairs.json')
    known = {(p['kind'], p['sub'], p['image'], p['text'].strip().lower()) for p in pairs}
    reached = {(p['kind'], p['sub'], p['image']) for p in pairs}
    asked = 0
    for kind, sub, image in sorted(reached):
        dataset, (record,) = record_of(golden, {'kind': kind, 'sub': sub, 'image': image})
        if kind == 'reason_seg':
            texts = [[text] for target in record['targets'] for text in target['text']]
        else:
            texts = [thing.spellings for thing in dataset.things(record)]
        for spellings in texts:
            assert any((kind, sub, image, text.strip().lower()) in known for text in spellings), (image, spellings)
            asked += 1
    assert asked


def test_items(golden):
    """Given image, sampled classes and questions of an item, its masks, questions and answers follow."""
    arrays = np.load(golden.root / 'data' / 'items_masks.npz')
    items = read(golden, 'items.json')['items']
    for item in items:
        dataset, records = record_of(golden, item)
        assert records, item['image']
        if item['kind'] == 'vqa':
            rendered = [render_v1(turns) for r in records for turns in dataset.ask(r, None).conversations]
            assert item['conversations'][0] in rendered
            continue
        (record,) = records
        wanted = arrays[f'masks_{item["id"]}'] if f'masks_{item["id"]}' in arrays else np.zeros(item['masks_shape'], np.uint8)
        assert list(wanted.shape) == item['masks_shape']
        for position, text in enumerate(item['sampled_classes'][: len(wanted)]):
            candidates = masks_for(dataset, record, text, wanted.shape[1:])
            target = np.minimum(wanted[position].astype(np.uint8), 1)
            assert any((mask == target).all() for mask in candidates), (item['id'], text)
        for text, question, conversation in zip(item['sampled_classes'], item['questions'], item['conversations'], strict=False):
            check_words(text, question, conversation, record, item)


def render_v1(turns):
    from lisa_mm.datasets.conversation import render

    return ''.join(segment.text for segment in render(turns, 'llava_v1'))


def check_words(text, question, conversation, record, item):
    """The question is one of our templates; the answer one of ours, or the explanation."""
    answer = re.search(r'ASSISTANT: (.*)</s>$', conversation, flags=re.S)[1]
    explanation = record.get('explanation')
    if item.get('answer_kind') == 'text_only':
        assert question == '<image>\n' + text
        assert answer == explanation
        return
    written = [
        template.format(**{key: text.lower() if kind == 'short' else text})
        for kind, (templates, key) in TEMPLATES.items()
        for template in templates
    ]
    assert question in written, question
    answers = [f'{a} {explanation}' for a in prompts.ANSWERS] if item.get('answer_kind') == 'seg_and_text' else prompts.ANSWERS
    assert answer in answers


def test_every_item_can_be_drawn(golden):
    """Our own draws stay inside the texts and answers of the original: at most three, without repetition."""
    root = str(golden.root / 'dataset')
    for kind, sub in sorted({(i['kind'], i['sub']) for i in read(golden, 'items.json')['items']}):
        dataset = reader(root, kind, sub)
        for n in range(20):
            sample = dataset[n]
            assert 1 <= len(sample['conversations']) <= 3
            count = sum(answer.count('[SEG]') for turns in sample['conversations'] for _, answer in turns)
            assert count == len(sample['encoded_masks'])


def test_label_maps(golden):
    """Values of a label map that may be asked for are those of the original's processed map, and cover the same pixels."""
    arrays = np.load(golden.root / 'data' / 'label_maps.npz')
    images = {i['image']: i['sub'] for i in read(golden, 'items.json')['items'] if i['kind'] == 'sem_seg'}
    images |= {p['image']: p['sub'] for p in read(golden, 'pairs.json') if p['kind'] == 'sem_seg'}
    for name in arrays:
        sub = images.get(name) or (
            'ade20k' if name.startswith('ade20k') else 'cocostuff' if name.startswith('coco') else 'mapillary'
        )
        path = label_map_path(golden.root / 'dataset', sub, name)
        raw = read_label_map(path).astype(np.int64)
        names = value_names(sub, golden.root / 'dataset')
        ours = np.full(raw.shape, 255)
        for value in np.unique(raw):
            if value != 255 and names[value] is not None:
                ours[raw == value] = value - 1 if sub == 'ade20k' else value  # the original shifts by one
        assert (ours == arrays[name]).all(), name
    assert len(arrays.files)


def label_map_path(root, sub, image):
    stem = image.rsplit('/', 1)[1].rsplit('.', 1)[0]
    folder = {
        'ade20k': 'ade20k/annotations/training',
        'cocostuff': 'cocostuff/train2017',
        'mapillary': 'mapillary/training/v2.0/labels',
    }[sub]
    return root / folder / f'{stem}.png'


@pytest.mark.parametrize('name', ['ade20k', 'cocostuff'])
def test_class_ids(golden, name):
    table = read(golden, 'class_ids.json')[name]
    names = class_names(name)
    assert len(names) == table['count']
    assert hashlib.sha256('\n'.join(names).encode()).hexdigest() == table['sha256_of_names_joined_by_newline']
    ours = value_names(name, golden.root / 'dataset')
    for value, wanted in table['png_value_to_name'].items():
        assert ours[int(value)] == (None if name == 'cocostuff' and '-' in wanted else wanted)
    for value in table.get('ignored_png_values', []):
        assert ours[value] is None
    if 'names_with_hyphen' in table:
        assert sum(label is None for label in ours) == table['names_with_hyphen']
