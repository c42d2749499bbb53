"""Exports of other tools become rows of the simple schema; whatever can't is one error that names the place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.doctor import import_annotations
from lisa_mm.errors import DataError

FIELD = Path(__file__).parents[1] / 'field'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / 'images' / '1.jpg')
    return tmp_path


def read(folder, **options):
    """Phrase -> area of its mask, of what was imported."""
    import_annotations(folder / 'source.json', folder / 'out.jsonl', **options)
    return areas(folder)


def areas(folder):
    data = JsonlSegDataset(
        str(folder), file='out.jsonl', test_mode=True, pipeline=[LoadImage(), DecodeMasks()], cache_index=False
    )
    phrases = [data.get_data_info(n)['phrases'][0]['phrase'] for n in range(len(data))]
    return {phrase: int(data[n]['gt_masks'].sum()) for n, phrase in enumerate(phrases)}


def via(*regions):
    return {'1.jpg999': {'filename': '1.jpg', 'size': 999, 'regions': list(regions), 'file_attributes': {}}}


def region(name, phrase='cup', **shape):
    return {'shape_attributes': {'name': name, **shape}, 'region_attributes': {'name': phrase}}


def test_via_of_the_field_case(tmp_path):
    shutil.copytree(FIELD / 'other_exports', tmp_path / 'x')
    import_annotations(tmp_path / 'x' / 'via.json', tmp_path / 'x' / 'out.jsonl')
    found = areas(tmp_path / 'x')
    assert list(found) == ['cup']
    assert 560 < found['cup'] < 660  # half of a square of 35 pixels


def test_coco_of_the_field_case_has_one_id_twice(tmp_path):
    shutil.copytree(FIELD / 'other_exports', tmp_path / 'x')
    source = tmp_path / 'x' / '_annotations.coco.json'
    with pytest.raises(DataError, match='annotations 0 and 1 of the file have the same id 1 but differ'):
        import_annotations(source, tmp_path / 'x' / 'out.jsonl')
    content = json.loads(source.read_text())
    content['annotations'][1]['id'] = 2
    source.write_text(json.dumps(content))
    assert import_annotations(source, tmp_path / 'x' / 'out.jsonl')[0] == 1
    assert areas(tmp_path / 'x') == {'cup': 1225 + 9}


def test_sa2va_of_the_field_case(tmp_path):
    shutil.copytree(FIELD / 'other_exports', tmp_path / 'x')
    import_annotations(tmp_path / 'x' / 'sa2va.json', tmp_path / 'x' / 'out.jsonl')
    assert areas(tmp_path / 'x') == {'the cup': 1225}


def test_a_row_of_the_field_case_that_is_no_export(tmp_path):
    with pytest.raises(DataError, match=r'list_image.json is no export that is known; .* Known: a COCO json'):
        import_annotations(FIELD / 'other_exports' / 'list_image.json', tmp_path / 'out.jsonl')
    with pytest.raises(DataError, match=r"row 0: phrase is \['the cup', 'a mug'\]; a text is needed"):
        JsonlSegDataset(str(FIELD / 'other_exports'), file='list_image.json')


def test_shapes_of_via(folder):
    regions = [
        region('rect', x=5, y=5, width=10, height=20),
        region('circle', 'ball', cx=30, cy=24, r=10),
        region('ellipse', 'egg', cx=30, cy=24, rx=10, ry=5, theta=0.3),
    ]
    (folder / 'source.json').write_text(json.dumps({'_via_settings': {}, '_via_img_metadata': via(*regions)}))
    found = read(folder)
    assert found['cup'] == 200
    assert found['ball'] == pytest.approx(314, abs=8)
    assert found['egg'] == pytest.approx(157, abs=8)


@pytest.mark.parametrize(
    ('regions', 'message'),
    [
        ([region('point', cx=1, cy=1)], r"regions\[0\] is a 'point'; allowed: polygon, rect, circle, ellipse"),
        ([region('circle', cx=1, cy=1)], r'regions\[0\] lacks r'),
        ([region('polygon', all_points_x=[1, 2], all_points_y=[1])], 'different numbers of x and y'),
        ([region('polygon', all_points_x=[1, 2, float('nan')], all_points_y=[1, 2, 3])], r'all_points_x\[2\] is nan'),
        ([region('rect', ' ', x=5, y=5, width=10, height=20)], "attribute 'name' is ' '; a text is needed"),
        (
            [{'shape_attributes': {'name': 'rect'}, 'region_attributes': {'a': 'x', 'b': 'y'}}],
            'name the one that holds the phrase',
        ),
        ([], 'holds no object'),
    ],
)
def test_faults_of_via(folder, regions, message):
    (folder / 'source.json').write_text(json.dumps(via(*regions)))
    with pytest.raises(DataError, match=message):
        read(folder)
    assert not (folder / 'out.jsonl').exists()


def test_labelme_folder(folder):
    shapes = [
        {'label': 'cup', 'shape_type': 'rectangle', 'points': [[5, 5], [40, 40]]},
        {'label': 'ignored ball', 'shape_type': 'circle', 'points': [[30, 24], [30, 34]]},
    ]
    (folder / 'labels').mkdir()
    content = {'version': '5', 'imagePath': '..\\images\\1.jpg', 'imageData': None, 'shapes': shapes}
    (folder / 'labels' / '1.json').write_text(json.dumps(content))
    import_annotations(folder / 'labels', folder / 'out.jsonl', images=folder / 'images')
    found = areas(folder)
    assert found['cup'] == 1296
    assert found['ignored ball'] == pytest.approx(314, abs=8)


def test_nothing_is_overwritten_and_missing_images_are_named(folder):
    content = [{'image': 'images/2.jpg', 'mask': [[[5, 5, 40, 5, 40, 40]]], 'text': ['the cup']}]
    (folder / 'source.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'entry 0: its image .*2.jpg is missing'):
        read(folder)
    (folder / 'out.jsonl').write_text('mine')
    with pytest.raises(DataError, match=r'out.jsonl is there already'):
        read(folder)
    assert (folder / 'out.jsonl').read_text() == 'mine'


def test_the_command(tmp_path):
    shutil.copytree(FIELD / 'other_exports', tmp_path / 'x')
    command = [
        sys.executable,
        'tools/data.py',
        'import',
        str(tmp_path / 'x' / 'via.json'),
        '--out',
        str(tmp_path / 'x/out.jsonl'),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith('1 rows: ')
