"""Referring data sets of two images of 8 x 10 (height x width), whose masks' areas are worked out by hand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from PIL import Image

HEIGHT, WIDTH = 8, 10
# annotation -> its pixels: 1: 4 x 3 = 12; 2: 4 x 4 = 16, of which 2 x 2 = 4 lie in 1; 3, a crowd: two columns of 8 = 16;
# 4: 2 x 2 and 2 x 2 with one pixel in common = 7; 5: 12
SEGMENTATIONS: dict[int, Any] = {
    1: [[1, 1, 5, 1, 5, 4, 1, 4]],
    2: [[3, 2, 7, 2, 7, 6, 3, 6]],
    3: {'size': [HEIGHT, WIDTH], 'counts': [HEIGHT, 2 * HEIGHT, 7 * HEIGHT]},
    4: [[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]],
    5: [[1, 1, 5, 1, 5, 4, 1, 4]],
}
AREAS = {1: 12, 2: 16, 3: 16, 4: 7, 5: 12}


def instances() -> dict[str, Any]:
    """Annotations 1 to 4 are of image 7, annotation 5 is of image 9."""
    return {
        'images': [
            {'id': 7, 'file_name': 'COCO_train2014_000000000007.jpg', 'height': HEIGHT, 'width': WIDTH},
            {'id': 9, 'file_name': 'COCO_train2014_000000000009.jpg', 'height': HEIGHT, 'width': WIDTH},
        ],
        'annotations': [
            {'id': n, 'image_id': 9 if n == 5 else 7, 'category_id': 1, 'segmentation': drawn, 'iscrowd': int(n == 3)}
            for n, drawn in SEGMENTATIONS.items()
        ],
        'categories': [{'id': 1, 'name': 'dog'}],
    }


def ref(number: int, annotation: Any, *sentences: str | dict[str, Any], image: int = 7, split: str = 'val') -> dict[str, Any]:
    """A ref as the published files have it."""
    said = [{'sent': s} if isinstance(s, str) else s for s in sentences]
    said = [{'sent_id': i, 'raw': s['sent'], 'tokens': s['sent'].split(), **s} for i, s in enumerate(said)]
    return {'ref_id': number, 'image_id': image, 'ann_id': annotation, 'category_id': 1, 'split': split, 'sentences': said}


def write_refer(root: Path, name: str, file: str, refs: list[dict[str, Any]]) -> Path:
    """Write ``refer_seg/<name>`` and the images; returns the file of refs."""
    images = root / 'refer_seg/images/mscoco/images/train2014'
    images.mkdir(parents=True, exist_ok=True)
    for number in (7, 9):
        Image.new('RGB', (WIDTH, HEIGHT)).save(images / f'COCO_train2014_{number:012}.jpg')
    folder = root / 'refer_seg' / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'instances.json').write_text(json.dumps(instances()), encoding='utf-8')
    path = folder / file
    path.write_bytes(pickle.dumps(refs, protocol=2) if path.suffix == '.p' else json.dumps(refs).encode())
    return path
