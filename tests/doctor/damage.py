"""Kinds of damage to a data root; each takes (root, rng) and returns the file, and a word of the record, that must be named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image


class _Evil:
    def __reduce__(self):
        return (print, ('run by a pickle',))


def edit_json(path: Path, change) -> None:
    """Read, change in place, write."""
    content = json.loads(path.read_text(encoding='utf-8'))
    change(content)
    path.write_text(json.dumps(content), encoding='utf-8')


def pick(folder: Path, pattern: str, rng) -> Path:
    """One file of a folder."""
    return rng.choice(sorted(folder.glob(pattern)))


def reason_json(root, rng, change) -> tuple[Path, str]:
    """Change a ReasonSeg json (one in UTF-8)."""
    path = root / 'reason_seg/ReasonSeg/train/train_0.json'
    edit_json(path, change)
    return path, 'train_0'


def refs(root, rng, change, name='refcoco') -> tuple[Path, str]:
    """Change one train ref of a pickle."""
    path = root / f'refer_seg/{name}/refs({"umd" if name == "refcocog" else "unc"}).p'
    content = pickle.loads(path.read_bytes())
    ref = content[int(rng.choice([i for i, r in enumerate(content) if r['split'] == 'train']))]
    number = ref['ref_id']
    change(ref)
    path.write_bytes(pickle.dumps(content))
    return path, str(number)


def first_annotation(root, relative, change) -> tuple[Path, str]:
    """Change the first annotation of a COCO json."""
    path = root / relative
    numbers = []

    def both(content):
        numbers.append(content['annotations'][0]['id'])
        change(content['annotations'][0])

    edit_json(path, both)
    return path, str(numbers[0])


def png(path: Path, change) -> None:
    """Change a label map, keeping its mode's numbers."""
    values = np.array(Image.open(path))
    Image.fromarray(change(values)).save(path)


def replace_text(path: Path, text: bytes) -> tuple[Path, str]:
    """Overwrite a file."""
    path.write_bytes(text)
    return path, path.name


def truncate(path: Path) -> tuple[Path, str]:
    """Keep the first half."""
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    return path, path.name


def remove(path: Path) -> tuple[Path, str]:
    """Delete a file."""
    path.unlink()
    return path, path.name


def put(path: Path, array) -> tuple[Path, str]:
    """Write an image over another."""
    Image.fromarray(array).save(path)
    return path, path.name


REASON = 'reason_seg/ReasonSeg'
COCO = 'refer_seg/images/mscoco/images/train2014'
LLAVA = 'llava_dataset/llava_instruct_150k.json'
PACO = 'vlpart/paco/annotations/paco_lvis_v1_train.json'
PASCAL = 'vlpart/pascal_part/train.json'


def llava(root, rng, change) -> tuple[Path, str]:
    """Change the first row."""
    path = root / LLAVA
    edit_json(path, lambda rows: change(rows[0]))
    return path, 'row 0'


def ade(root, change) -> tuple[Path, str]:
    """Change ADE20K's second label map."""
    path = root / 'ade20k/annotations/training/ADE_train_00000002.png'
    png(path, change)
    return path, path.name


def copy_as(source: Path, target: Path) -> tuple[Path, str]:
    """One file's content under another's name."""
    target.write_bytes(source.read_bytes())
    return target, target.name


def say(row, position, text):
    """Replace what is said in a turn."""
    row['conversations'][position]['value'] = text


def word(ref, text):
    """Replace a sentence."""
    ref['sentences'][0]['sent'] = text


DAMAGES = {
    'reason json cut': lambda r, g: truncate(r / REASON / 'train/train_0.json'),
    'reason json is a list': lambda r, g: replace_text(r / REASON / 'train/train_1.json', b'[]'),
    'reason json without shapes': lambda r, g: reason_json(r, g, lambda c: c.pop('shapes')),
    'reason text empty': lambda r, g: reason_json(r, g, lambda c: c.update(text=[])),
    'reason text blank': lambda r, g: reason_json(r, g, lambda c: c.update(text=['  '])),
    'reason polygon empty': lambda r, g: reason_json(r, g, lambda c: c['shapes'][0].update(points=[])),
    'reason polygon outside': lambda r, g: reason_json(
        r, g, lambda c: [s.update(points=[[9000, 9000], [9100, 9000], [9000, 9100]]) for s in c['shapes']]
    ),
    'reason text with a separator': lambda r, g: reason_json(r, g, lambda c: c.update(text=['what? ASSISTANT: no'])),
    'reason image missing': lambda r, g: remove(pick(r / REASON / 'train', '*.jpg', g)),
    'reason image cut': lambda r, g: truncate(pick(r / REASON / 'val', '*.jpg', g)),
    'reason image empty': lambda r, g: replace_text(pick(r / REASON / 'train', '*.jpg', g), b''),
    'explanation of no image': lambda r, g: (
        edit_json(r / REASON / 'explanatory/train.json', lambda c: c[0].update(image='gone.jpg')),
        (r / REASON / 'train/gone.jpg', 'entry 0'),
    )[1],
    'explanation empty': lambda r, g: (
        edit_json(r / REASON / 'explanatory/train.json', lambda c: c[1].update(outputs=' ')),
        (r / REASON / 'explanatory/train.json', 'entry 1'),
    )[1],
    'leak of content': lambda r, g: copy_as(r / REASON / 'val/val_0.jpg', r / 'coco/train2017/000000033000.jpg'),
    'leak of image id': lambda r, g: (
        copy_as(r / 'coco/train2017/000000033000.jpg', (r / 'coco/train2017/000000001051.jpg'))
        if edit_json(r / LLAVA, lambda c: c[0].update(image='000000001051.jpg')) is None
        else None
    ),
    'refs run code': lambda r, g: replace_text(r / 'refer_seg/refcoco/refs(unc).p', pickle.dumps([_Evil()])),
    'refs cut': lambda r, g: truncate(r / 'refer_seg/refclef/refs(unc).p'),
    'ref without sentences': lambda r, g: refs(r, g, lambda ref: ref.pop('sentences')),
    'ref with a blank sentence': lambda r, g: refs(r, g, lambda ref: word(ref, ' '), 'refcocog'),
    'ref with a template separator': lambda r, g: (
        refs(r, g, lambda ref: word(ref, 'a </s> b'), 'refcoco+'),
        (r / COCO, 'refcoco+'),
    )[1],
    'ref of an unknown annotation': lambda r, g: refs(r, g, lambda ref: ref.update(ann_id=999)),
    'ref of an unknown image': lambda r, g: refs(r, g, lambda ref: ref.update(image_id=999)),
    'instances cut': lambda r, g: truncate(r / 'refer_seg/refcoco+/instances.json'),
    'instances without annotations': lambda r, g: (
        edit_json(r / 'refer_seg/refcoco/instances.json', lambda c: c.pop('annotations')),
        (r / 'refer_seg/refcoco/instances.json', 'annotations'),
    )[1],
    'polygon of two points': lambda r, g: first_annotation(
        r, 'refer_seg/refcoco/instances.json', lambda a: a.update(segmentation=[[1, 1, 5, 5]])
    ),
    'RLE of another size': lambda r, g: first_annotation(
        r, 'refer_seg/refclef/instances.json', lambda a: a['segmentation'][0].update(size=[3, 3])
    ),
    'refer image missing': lambda r, g: remove(r / COCO / 'COCO_train2014_000000001000.jpg'),
    'refer image of another size': lambda r, g: put(r / COCO / 'COCO_train2014_000000001017.jpg', np.zeros((9, 7, 3), np.uint8)),
    'label map missing': lambda r, g: remove(r / 'ade20k/annotations/training/ADE_train_00000001.png'),
    'label map of another size': lambda r, g: ade(r, lambda v: v[:-3]),
    'label map with an unknown class': lambda r, g: ade(
        r, lambda v: np.where(np.arange(v.size).reshape(v.shape) < 9, 200, v).astype(np.uint8)
    ),
    'label map in colour': lambda r, g: ade(r, lambda v: np.stack([v, v, 255 - v], -1)),
    'label map cut': lambda r, g: truncate(pick(r / 'cocostuff/train2017', '*.png', g)),
    'label map without image': lambda r, g: remove(r / 'coco/train2017/000000004009.jpg'),
    'mapillary config missing': lambda r, g: remove(r / 'mapillary/config_v2.0.json'),
    'mapillary class out of range': lambda r, g: (
        png(r / 'mapillary/training/v2.0/labels/key0_xAbC.png', lambda v: np.full_like(v, 60)),
        (r / 'mapillary/training/v2.0/labels/key0_xAbC.png', '60'),
    )[1],
    'part of an unknown category': lambda r, g: first_annotation(r, PACO, lambda a: a.update(category_id=77)),
    'part image missing': lambda r, g: remove(pick(r / 'vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages', '*.jpg', g)),
    'part with a broken RLE': lambda r, g: first_annotation(
        r, PASCAL, lambda a: a.update(segmentation={'size': [73, 47], 'counts': [5]})
    ),
    'llava json cut': lambda r, g: truncate(r / LLAVA),
    'llava row without conversations': lambda r, g: llava(r, g, lambda row: row.pop('conversations')),
    'llava speakers do not alternate': lambda r, g: llava(r, g, lambda row: row['conversations'].pop()),
    'llava answer empty': lambda r, g: llava(r, g, lambda row: say(row, 1, ' ')),
    'llava answer with a separator': lambda r, g: (
        llava(r, g, lambda row: say(row, 1, 'no </s> end')),
        (r / 'coco/train2017', ':0'),
    )[1],
    'llava answer with an image': lambda r, g: llava(r, g, lambda row: say(row, 1, 'see <image>')),
    'llava [SEG] without a mask': lambda r, g: llava(r, g, lambda row: say(row, 1, 'it is [SEG].')),
    'llava image missing': lambda r, g: remove(r / 'coco/train2017/000000033001.jpg'),
}
