"""Masks in every format are equal once decoded, in every process; invalid ones are refused before decoding."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_mm.datasets.formats import Format
from lisa_mm.datasets.json_masks import encode_masks
from lisa_mm.datasets.labelme import Shapes, encode_shapes
from lisa_mm.datasets.mask_formats import Mask
from lisa_mm.datasets.masks import decode_mask, vertices_outside
from lisa_mm.datasets.run_lengths import counts_of, decode_rle, encode_mask
from lisa_mm.errors import DataError

MASK: Format = Format(Mask, 'mask')
SHAPES: Format = Format(Shapes, 'shapes')
SEEDS = range(60)


def random_mask(seed):
    """Of any size from 1 x 1, empty, full, noisy or of boxes."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 70, 2))
    mask = np.zeros((height, width), np.uint8)
    if seed % 4 == 1:
        mask[:] = 1
    elif seed % 4 == 2:
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    elif seed % 4 == 3:
        for _ in range(3):
            top, left = rng.integers(height), rng.integers(width)
            mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = 1
    return mask


def png_of(mask, **options):
    file = io.BytesIO()
    Image.fromarray(mask, **options).save(file, format='PNG')
    return file.getvalue()


def in_each_format(mask, folder):
    """Name of the format -> the mask as the readers encode it."""
    height, width = mask.shape
    rle = encode_mask(mask)
    (folder / 'mask.png').write_bytes(png_of(mask * 255))
    (folder / 'map.png').write_bytes(png_of(mask * 7))
    written = {'text': rle, 'list': {**rle, 'counts': counts_of(rle['counts']).tolist()}, 'png': 'mask.png'}
    if height > 1 and width > 2:
        written['bitmap'] = mask.tolist()
        written['true and false'] = mask.astype(bool).tolist()
    for value in written.values():
        MASK.read(value, folder / 'a.jsonl')
    encoded = dict(zip(written, encode_masks(list(written.values()), folder, folder / 'a.jsonl', 'line 1'), strict=True))
    encoded['label map'] = {'label_map': str(folder / 'map.png'), 'value': 7}
    encoded['parts'] = {'segmentations': [rle, rle], 'size': [height, width]}
    encoded['union'] = {'union': [encoded['text'], encoded['png']]}
    shape = {
        'label': 'cup',
        'shape_type': 'mask',
        'points': [[0, 0], [width - 1, height - 1]],
        'mask': base64.b64encode(png_of(mask.astype(bool))).decode(),
    }
    SHAPES.read([shape], folder / 'a.json')
    encoded['labelme mask'] = {'shapes': encode_shapes([shape])}
    return encoded


@pytest.mark.parametrize('seed', SEEDS)
def test_equal_in_each_format(seed, tmp_path):
    mask = random_mask(seed)
    for name, encoded in in_each_format(mask, tmp_path).items():
        assert np.array_equal(decode_mask(encoded, mask.shape[0], mask.shape[1], 'a'), mask), name


def digest():
    """A hash of masks and their run lengths."""
    found = hashlib.sha256()
    for seed in SEEDS:
        rle = encode_mask(random_mask(seed))
        found.update(rle['counts'].encode())
        found.update(decode_rle(rle).tobytes())
    polygon = {'segmentations': [[-3.5, 2.25, 50, 3, 44.75, 70, 1, 60]]}
    found.update(decode_mask(polygon, 64, 48, 'a').tobytes())
    found.update(decode_mask({'shapes': [{'label': 'a', 'circle': [20.5, 20, 9.3]}]}, 64, 48, 'a').tobytes())
    return found.hexdigest()


def test_equal_in_two_processes():
    code = f'import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from {__name__} import digest; print(digest())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == digest()


@pytest.mark.parametrize('seed', range(300))
def test_damaged_run_lengths_are_refused_or_decode_as_pycocotools_decodes_their_counts(seed):
    rng = np.random.default_rng(seed)
    rle = encode_mask(random_mask(2 + 4 * (seed % 15)))
    text = list(str(rle['counts']))
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(text)))
        match int(rng.integers(3)):
            case 0:
                text[place] = chr(int(rng.integers(32, 127)))
            case 1 if len(text) > 1:
                del text[place]
            case _:
                text.insert(place, chr(int(rng.integers(48, 112))))
    damaged = {**rle, 'counts': ''.join(text)}
    try:
        mask = decode_rle(damaged)
    except ValueError:
        return
    counts = counts_of(damaged['counts'])
    assert counts.min() >= 0
    assert counts.sum() == mask.size
    by_hand = np.repeat(np.arange(len(counts)) % 2, counts).reshape(mask.shape, order='F')
    assert np.array_equal(mask, by_hand)


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ('', 'cover 0 pixels, the image has 24'),
        ('a', 'the text is cut'),
        ('~', "the character '~'"),
        ('é', "the character 'é'"),
        ('ooooooooo0', 'a number of 10 characters'),
        ('O0', 'negative'),
        ([0, 10], 'cover 10 pixels'),
        ([30, -6], 'negative'),
    ],
)
def test_invalid_run_lengths(counts, message):
    with pytest.raises(DataError, match=f'a.json: its counts .*{message}'):
        decode_mask({'rle': {'size': [4, 6], 'counts': counts}}, 4, 6, 'a.json')


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (5, 'the record is 5; a path of a png, or a bitmap'),
        (None, 'the record is None'),
        ('', 'it is empty'),
        ([1, 2, 3], '3 values'),
        ([[1, 1], [2, 2]], 'at least 3 points'),
        ([[1, 1], [2, float('nan')], [3, 3]], r'\[1\]\[1\] is nan; a finite number'),
        ([[1, 1], [2, float('-inf')], [3, 3]], r'\[1\]\[1\] is -inf; a finite number'),
        ([[1, 1], [2, 4e10], [3, 3]], r'at most 1,000,000 is allowed'),
        ([[1, 1], [2, 10**400], [3, 3]], r'\[1\]\[1\] is 1000'),
        ([[1, 1], [2, True], [3, 3]], r'\[1\]\[1\] is True; a number'),
        ([[1, 1, 1], [2, 2, 2], [3, 3, 4]], r'\[0\] has 3 items; at most 2'),
        ([[0, 0.5], [0.5, 1], [1, 0]], 'all coordinates lie in 0..1'),
        ({'size': [4, 6]}, 'counts is missing'),
        ({'size': [4.0, 6], 'counts': []}, r'size\[0\] is 4.0; a whole number'),
        ({'size': [10**6, 10**6], 'counts': [10**12]}, 'at most 2,147,483,648 is allowed'),
        ({'size': [4, 6], 'counts': [0, 5]}, 'its counts cover 5 pixels'),
        ([[[]]], r'\[0\] is \[\[\]\]'),
        ([[0, 1, 2], [1, 0, 1]], 'at most 2 are needed'),
    ],
)
def test_invalid_masks(mask, message, tmp_path):
    with pytest.raises(DataError, match=rf'a.jsonl: line 3: .*{message}'):
        MASK.read(mask, tmp_path / 'a.jsonl', 'line 3')


def test_vertices_a_little_outside_are_drawn_as_pycocotools_draws_them_and_far_ones_refused():
    polygon = [-5.5, -3, 70, 4, 20, 60]
    spec = {'segmentations': [polygon]}
    wanted = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 48, 64)))
    assert np.array_equal(decode_mask(spec, 48, 64, 'a'), wanted)
    assert vertices_outside(spec, 48, 64) == 3
    for far in (-65, 129):
        for encoded in (
            {'segmentations': [[far, 1, 9, 1, 9, 9]]},
            {'shapes': [{'label': 'a', 'points': [[far, 1], [9, 1], [9, 9]]}]},
        ):
            with pytest.raises(DataError, match=r'a: x of its points goes from .* but the image has 64 pixels'):
                decode_mask(encoded, 48, 64, 'a')


def test_run_lengths_that_are_no_text_are_refused_by_the_format():
    """They reached the index, which ended with a UnicodeEncodeError."""
    with pytest.raises(DataError, match='half of a surrogate pair'):
        MASK.read({'size': [4, 4], 'counts': '\ud800'}, Path('a.json'), 'row 1')
