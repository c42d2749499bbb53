"""Images with awkward names, and masks with awkward shapes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.labelling import label_item

HEIGHT, WIDTH = 47, 61
NAMES = ('a.jpg', 'a.png', 'two words.jpg', 'sub/ünï 猫.jpg', 'sub/deep/a.jpg')


def blob(seed=0):
    """A mask with holes and parts, which touches the borders."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH)).astype(np.float32)
    return cv2.GaussianBlur(noise, (9, 9), 2) > 0.5


def shaped(kind):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if kind == 'square':
        mask[10:20, 15:40] = True
    elif kind == 'pixel':
        mask[30, 40] = True
    elif kind == 'corner pixel':
        mask[-1, -1] = True
    elif kind == 'first pixel':
        mask[0, 0] = True
    elif kind == 'first four pixels':
        mask[:2, :2] = True
    elif kind == 'line':
        mask[12, 5:50] = True
    elif kind == 'slant':
        mask[np.arange(30), np.arange(30) + 4] = True
    elif kind == 'whole':
        mask[:] = True
    elif kind == 'frame':
        mask[:] = True
        mask[1:-1, 1:-1] = False
    elif kind == 'rings':
        for radius, value in ((22, True), (18, False), (14, True), (9, False), (4, True)):
            mask[cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (30, 23), radius, 1, -1) > 0] = value
    elif kind == 'touching parts':
        mask[5:15, 5:15] = mask[15:25, 15:25] = True
        mask[15:25, 15:25] = True
    elif kind == 'two holes in a row':
        mask[5:40, 5:55] = True
        mask[20, 10:20] = mask[20, 22:30] = mask[18:23, 31] = False
    elif kind == 'checkerboard':
        mask[::2, ::2] = mask[1::2, 1::2] = True
    elif kind == 'blob':
        mask = blob()
    else:
        assert kind == 'empty'
    return mask


SHAPES = (
    'square',
    'pixel',
    'corner pixel',
    'first pixel',
    'first four pixels',
    'line',
    'slant',
    'whole',
    'frame',
    'rings',
    'touching parts',
    'two holes in a row',
    'checkerboard',
    'blob',
)


def image(folder, name='a.jpg'):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # by its name, so that no two files are equal
        color = [sum(name.encode()) % 256, len(name), 7]
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), color, np.uint8)).save(path)
    return path


def item(folder, *masks, name='a.jpg', question='the red cup', text=None, **options):
    """A label whose image is in ``folder/images``."""
    text = ' '.join(['It is', *['[SEG]'] * len(masks)]) + '.' if text is None else text
    return label_item(image(folder / 'images', name), (HEIGHT, WIDTH), question, text, list(masks), **options)


def masks_of(dataset):
    """Every mask that a data set of test mode gives, (H, W) bool, by image and question."""
    found = {}
    for n in range(len(dataset)):
        sample = dataset[n]
        question = sample['conversations'][0][0][0].replace('<image>', '').strip()
        found[Path(sample['img_path']).name, question] = np.asarray(sample['gt_masks']) == 1
    return found


READ = {'test_mode': True, 'pipeline': [LoadImage(), DecodeMasks()], 'cache_index': False}
