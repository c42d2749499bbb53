"""A small sound data set for each reader: two or three images of 48 x 64, with the configs that read them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_mm.datasets.run_lengths import encode_mask

SQUARE = [[5, 5], [40, 5], [40, 40], [5, 40]]
FLAT = [5.5, 5, 40, 5, 40, 40, 5, 40]
HEIGHT, WIDTH = 48, 64


def picture(path: Path, seed: int) -> None:
    """A noise image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')


def box() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:30, 10:50] = 1
    return mask


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def reason_seg(root: Path) -> dict[str, Any]:
    folder = root / 'reason_seg/ReasonSeg/train'
    shapes: list[dict[str, Any]] = [
        {'label': 'target', 'shape_type': 'polygon', 'points': SQUARE, 'flags': {}},
        {'label': 'target', 'shape_type': 'rectangle', 'points': [[5, 5], [40, 30]]},
        {'label': 'ignore', 'shape_type': 'circle', 'points': [[30, 20], [30, 30]]},
    ]
    for number, chosen in enumerate((shapes, shapes[:1], shapes[1:2])):
        picture(folder / f'{number}.png', number)
        content = {'text': ['What holds tea?', 'the cup'], 'is_sentence': number == 0, 'shapes': chosen, 'version': '5'}
        content['others'] = [{'text': ['a pot'], 'is_sentence': False, 'shapes': shapes[:1]}]
        write_json(folder / f'{number}.json', content)
    write_json(root / 'reason_seg/ReasonSeg/explanatory/train.json', [{'image': '0.png', 'query': 'q', 'outputs': 'Tea.'}])
    return dict(type='ReasonSegDataset', split='train')


def jsonl(root: Path) -> dict[str, Any]:
    for name in ('a', 'b'):
        picture(root / f'{name}.png', len(name))
    png(root / 'mask.png', box() * 255)
    rle = encode_mask(box())
    rows = [
        {'image': 'a.png', 'phrase': 'the cup', 'masks': [SQUARE]},
        {'image': 'a.png', 'question': 'What holds tea?', 'masks': ['mask.png', [FLAT, SQUARE]]},
        {'image': 'b.png', 'question': 'Two?', 'answer': 'A [SEG] and a [SEG].', 'masks': [rle, SQUARE]},
        {'image': 'b.png', 'turns': [['What?', 'A pot.'], ['Where?', '[SEG].']], 'masks': [box().tolist()]},
        {'question': 'What boils?', 'answer': 'Water.'},
    ]
    (root / 'train.jsonl').write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    return dict(type='JsonlSegDataset', file='train.jsonl')


def llava(root: Path) -> dict[str, Any]:
    picture(root / 'images/a.png', 0)
    rows = [
        {'id': 'x', 'image': 'a.png', 'conversations': said('<image>\nWhere?', 'Here [SEG].'), 'masks': [SQUARE]},
        {'conversations': [{'from': 'system', 'value': 'Be short.'}, *said('Hi', 'Hello.', 'And?', 'No.')]},
    ]
    write_json(root / 'chat.json', rows)
    return dict(type='VQADataset', file='chat.json', image_folder='images')


def said(*texts: str) -> list[dict[str, str]]:
    return [{'from': 'gpt' if i % 2 else 'human', 'value': text} for i, text in enumerate(texts)]


def coco(names: tuple[str, ...]) -> dict[str, Any]:
    uncompressed = [0, 10, HEIGHT * WIDTH - 10]
    return {
        'images': [{'id': i, 'file_name': name, 'height': HEIGHT, 'width': WIDTH} for i, name in enumerate(names)],
        'annotations': [
            {'id': 1, 'image_id': 0, 'category_id': 1, 'segmentation': [FLAT, FLAT], 'iscrowd': 0, 'bbox': [5, 5, 35, 35]},
            {'id': 2, 'image_id': 1, 'category_id': 2, 'segmentation': {'size': [HEIGHT, WIDTH], 'counts': uncompressed}},
            {'id': 3, 'image_id': 1, 'category_id': 1, 'segmentation': [encode_mask(box())]},
        ],
        'categories': [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'dog:left eye'}],
    }


def refs() -> list[dict[str, Any]]:
    sentences = [{'sent': 'the left dog', 'sent_id': 1, 'raw': 'x', 'tokens': ['x']}]
    return [
        {'ref_id': i, 'image_id': image, 'ann_id': annotation, 'split': 'train', 'sentences': sentences}
        for i, (image, annotation) in enumerate([(0, 1), (1, 2), (1, 3)])
    ]


def refcoco(root: Path) -> dict[str, Any]:
    for number, name in enumerate('ab'):
        picture(root / f'refer_seg/images/mscoco/images/train2014/{name}.png', number)
    write_json(root / 'refer_seg/refcoco/instances.json', coco(('a.png', 'b.png')))
    (root / 'refer_seg/refcoco/refs(unc).p').write_bytes(pickle.dumps(refs()))
    return dict(type='ReferSegDataset', name='refcoco')


def grefcoco(root: Path) -> dict[str, Any]:
    for number, name in enumerate('ab'):
        picture(root / f'refer_seg/images/mscoco/images/train2014/{name}.png', number)
    write_json(root / 'refer_seg/grefcoco/instances.json', coco(('a.png', 'b.png')))
    none = {**refs()[0], 'ann_id': [-1], 'no_target': True}
    write_json(root / 'refer_seg/grefcoco/grefs(unc).json', [*refs(), none, {**refs()[1], 'ann_id': [2, 3]}])
    return dict(type='ReferSegDataset', name='grefcoco')


def fprefcoco(root: Path) -> dict[str, Any]:
    for number, name in enumerate('ab'):
        picture(root / f'refer_seg/images/mscoco/images/train2014/{name}.png', number)
    write_json(root / 'refer_seg/fprefcoco/instances.json', coco(('a.png', 'b.png')))
    false = {'sent': 'the left cat', 'is_false_premise': True, 'gt_sent': 'the left dog', 'sent_id': 1}
    said = [{**entry, 'sentences': [*entry['sentences'], false, {**false, 'exist': False}]} for entry in refs()]
    (root / 'refer_seg/fprefcoco/refs(berkeley_exclude_unified).p').write_bytes(pickle.dumps(said))
    return dict(type='ReferSegDataset', name='fprefcoco')


def parts(root: Path) -> dict[str, Any]:
    for number, name in enumerate('ab'):
        picture(root / f'vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/{name}.png', number)
    write_json(root / 'vlpart/pascal_part/train.json', coco(('a.png', 'b.png')))
    return dict(type='PartSegDataset', name='pascal_part')


def label_maps(root: Path) -> dict[str, Any]:
    for name in 'ab':
        picture(root / f'mapillary/training/images/{name}.jpg', ord(name))
        png(root / f'mapillary/training/v2.0/labels/{name}.png', box() + box()[::-1])
    labels = [{'readable': name, 'color': [0, 0, 0]} for name in ('Road', 'Car', 'Sky')]
    write_json(root / 'mapillary/config_v2.0.json', {'labels': labels, 'version': 1.2})
    return dict(type='SemSegDataset', name='mapillary')


def muse(root: Path) -> dict[str, Any]:
    picture(root / 'refer_seg/images/mscoco/images/train2014/a.png', 0)
    picture(root / 'refer_seg/images/mscoco/images/val2017/b.png', 1)
    note = {'segmentation': [FLAT], 'bbox': [5, 5, 35, 35], 'category_name': 'cup', 'rephrased_name': 'the red cup'}
    row = {'file_name': 'a.png', 'height': HEIGHT, 'width': WIDTH, 'questions': ['What holds tea?', 'Which two?']}
    row |= {'ann_list': [], 'answers': [[note], [[note, note], {'segmentation': encode_mask(box())}]]}
    asked = {**row, 'text_answers': ['The cup {seg}.', None]}
    url = {**asked, 'coco_url': 'http://images.cocodataset.org/val2017/b.png'}
    del url['file_name']
    write_json(root / 'muse/muse_train.json', [asked, row, url])
    return dict(type='MuseDataset')


def grounded(root: Path) -> dict[str, Any]:
    picture(root / 'GranDf/GranDf_HA_images/train/a.png', 0)
    places = {'A cup': [0, 5], 'a pot': [10, 15], 'pot': [12, 15]}
    groundings = {phrase: {'token_positives': place, 'rle_masks': [encode_mask(box())]} for phrase, place in places.items()}
    row = {'file_name': 'a.png', 'image_id': 'a', 'caption': '"A cup and a pot."', 'groundings': groundings}
    write_json(root / 'GranDf/annotations/train/GranDf_HA_GCG_train.json', [row, {**row, 'groundings': {}}])
    return dict(type='GroundedCaptionDataset')


def grounded_refs(root: Path) -> dict[str, Any]:
    picture(root / 'coco_2014/train2014/a.png', 0)
    found = [{'sentence': 'a Cup', 'segmentation': [FLAT], 'bbox': [5, 5, 35, 35]}, {'sentence': 'dog', 'segmentation': [FLAT]}]
    row = {'img_file_name': 'a.png', 'caption': 'A cup and a pot.', 'refs': found}
    write_json(root / 'GranDf/annotations/train/RefCOCOg_GCG_train.json', [{'9': row}, row])
    return dict(type='GroundedCaptionDataset', name='refcocog')


def grounded_flickr(root: Path) -> dict[str, Any]:
    picture(root / 'flikcr_30k/train/a.png', 0)
    image = {'id': 1, 'file_name': 'a.png', 'caption': 'A cup and a pot.', 'height': HEIGHT, 'width': WIDTH}
    annotation = {'id': 1, 'image_id': 1, 'tokens_positive': [[0, 5]], 'sam_mask': encode_mask(box()), 'area': 9}
    annotation |= {'bbox': [10, 5, 40, 25], 'iscrowd': 0, 'category_id': 1}
    content = {'images': [image], 'annotations': [annotation, {**annotation, 'id': 2}], 'categories': []}
    write_json(root / 'GranDf/annotations/train/flickr_mergedGT_GCG_train.json', content)
    return dict(type='GroundedCaptionDataset', name='flickr')


def grounded_benchmark(root: Path) -> dict[str, Any]:
    picture(root / 'GranDf/GranDf_HA_images/val_test/a.png', 0)
    images = [{'id': 'a', 'file_name': 'a.png', 'height': HEIGHT, 'width': WIDTH}]
    told = {'id': 1, 'image_id': 'a', 'caption': 'A cup and a pot.', 'labels': ['cup', 'a pot']}
    drawn = {'id': 1, 'image_id': 'a', 'category_id': 1, 'segmentation': encode_mask(box()), 'area': 9, 'iscrowd': 0}
    folder = root / 'GranDf/annotations/val_test'
    write_json(folder / 'val_gcg_coco_caption_gt.json', {'images': images, 'annotations': [told]})
    write_json(folder / 'val_gcg_coco_mask_gt.json', {'images': images, 'annotations': [drawn, {**drawn, 'id': 2}]})
    return dict(type='GroundedCaptionDataset', split='val')


def sa2va(root: Path) -> dict[str, Any]:
    picture(root / 'images/a.png', 0)
    rows = [{'image': 'a.png', 'mask': [[FLAT], [FLAT, FLAT]], 'text': ['the cup', 'A pot.']}]
    write_json(root / 'annotations.json', rows)
    return dict(type='Sa2VADataset')


GROUNDED = (grounded, grounded_refs, grounded_flickr, grounded_benchmark)
ROOTS = (reason_seg, jsonl, llava, refcoco, grefcoco, fprefcoco, parts, muse, *GROUNDED, sa2va, label_maps)
