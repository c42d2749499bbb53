"""Labels as labelme's jsons, read by our importer, and by the rules of labelme itself."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.doctor import import_annotations
from lisa_mm.errors import DataError
from lisa_mm.labelling import open_labels, write_labels
from lisa_mm.labelling.labelme import AS_BITMAP, SAME_STEM
from lisa_mm.labelling.writer import EMPTY, KNOWN

from .scenes import HEIGHT, NAMES, READ, SHAPES, WIDTH, item, masks_of, shaped
from .test_outlines import drawn_by_pillow


def written(tmp_path, *items, **options):
    return write_labels('labelme', items, tmp_path / 'out', images=tmp_path / 'images', **options)


def content(tmp_path, name='a.json'):
    return json.loads((tmp_path / 'out' / name).read_text(encoding='utf-8'))


def imported(tmp_path):
    import_annotations(tmp_path / 'out', tmp_path / 'rows.jsonl', images=tmp_path / 'images')
    return masks_of(JsonlSegDataset(str(tmp_path), file='rows.jsonl', **READ))


def as_labelme_draws(shape):
    """The rules of labelme 5: a bitmap lies at the first of its points, which are the corners of its box."""
    if shape['shape_type'] == 'polygon':
        assert len(shape['points']) > 2
        return drawn_by_pillow([shape['points']], (HEIGHT, WIDTH))
    (left, top), (right, bottom) = shape['points']
    with Image.open(io.BytesIO(base64.b64decode(shape['mask']))) as file:
        patch = np.array(file).astype(bool)
    assert patch.shape == (bottom - top + 1, right - left + 1)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : bottom + 1, left : right + 1] = patch
    return mask


@pytest.mark.parametrize('kind', SHAPES)
def test_every_mask_comes_back(tmp_path, kind):
    files, notes = written(tmp_path, item(tmp_path, shaped(kind), scores=[0.75]))
    assert files == [tmp_path / 'out']
    bitmap = kind in ('first pixel', 'first four pixels', 'checkerboard')
    assert notes == ({AS_BITMAP: 1} if bitmap else {})
    shapes = content(tmp_path)['shapes']
    assert {shape['shape_type'] for shape in shapes} == {'mask' if bitmap else 'polygon'}
    assert (np.any([as_labelme_draws(shape) for shape in shapes], axis=0) == shaped(kind)).all()
    (mask,) = imported(tmp_path).values()
    assert (mask == shaped(kind)).all()


def test_fields_of_the_file(tmp_path):
    parts = shaped('touching parts') | shaped('pixel')
    written(tmp_path, item(tmp_path, shaped('square'), parts, scores=[0.75, 0.5], text='Here [SEG], [SEG].'))
    found = content(tmp_path)
    shapes = found.pop('shapes')
    assert found == {
        'version': '5.5.0',
        'flags': {'the red cup': True},
        'imagePath': '../images/a.jpg',
        'imageData': None,
        'imageHeight': HEIGHT,
        'imageWidth': WIDTH,
    }
    assert [shape['group_id'] for shape in shapes] == [0, 1, 1]  # diagonal neighbours are one part
    assert [shape['score'] for shape in shapes] == [0.75, 0.5, 0.5]
    assert {shape['label'] for shape in shapes} == {'the red cup'}
    assert {shape['description'] for shape in shapes} == {'Here [SEG], [SEG].'}
    assert all(shape['flags'] == {} and shape['mask'] is None for shape in shapes)


def test_images_of_any_name(tmp_path):
    items = [item(tmp_path, shaped(SHAPES[n]), name=name) for n, name in enumerate(NAMES)]
    _, notes = written(tmp_path, *items)
    assert notes == {SAME_STEM: 1, AS_BITMAP: 2}
    files = sorted(path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.*'))
    assert files == ['a.json', 'a.png.json', 'sub/deep/a.json', 'sub/ünï 猫.json', 'two words.json']
    import_annotations(tmp_path / 'out', tmp_path / 'rows.jsonl', images=tmp_path / 'images')
    data = JsonlSegDataset(str(tmp_path), file='rows.jsonl', **READ)
    areas = {str(data[n]['img_path']): data[n]['gt_masks'].sum() for n in range(len(data))}
    assert sorted(areas.values()) == sorted(shaped(SHAPES[n]).sum() for n in range(len(NAMES)))
    for n, name in enumerate(NAMES):
        (area,) = [area for path, area in areas.items() if path.endswith(f'images/{name}')]
        assert area == shaped(SHAPES[n]).sum()


def test_questions_about_one_image_share_its_file(tmp_path):
    _, notes = written(
        tmp_path,
        item(tmp_path, shaped('square')),
        item(tmp_path, shaped('blob'), shaped('empty'), question='the pot'),
        item(tmp_path, shaped('empty'), question='the dragon'),
        item(tmp_path, question='the cat', text='There is none.'),
    )
    assert notes == {EMPTY: 2}
    assert content(tmp_path)['flags'] == {'the red cup': True, 'the pot': True, 'the dragon': False, 'the cat': False}
    found = imported(tmp_path)
    assert len(found) == 2
    assert [shape['group_id'] for shape in content(tmp_path)['shapes']][:2] == [0, 1]


def test_what_a_person_corrected_stays(tmp_path):
    first, second = item(tmp_path, shaped('square')), item(tmp_path, shaped('blob'), question='the pot')
    written(tmp_path, first)
    corrected = content(tmp_path)
    corrected['shapes'] = [{'label': 'mine', 'points': [[1, 1], [9, 1], [9, 9]], 'shape_type': 'polygon', 'group_id': None}]
    corrected['imagePath'] = '..\\images\\a.jpg'  # as labelme for Windows writes it
    path = tmp_path / 'out' / 'a.json'
    path.write_text(json.dumps(corrected))
    labels = open_labels('labelme', tmp_path / 'out', images=tmp_path / 'images')
    assert not labels.add(first)
    assert labels.notes[KNOWN] == 1
    assert content(tmp_path) == corrected
    assert labels.add(second)
    assert content(tmp_path)['shapes'][0] == corrected['shapes'][0]
    assert {shape['label'] for shape in content(tmp_path)['shapes']} == {'mine', 'the pot'}


@pytest.mark.parametrize('other', ['no json', '[]', '{"imagePath": "../images/other.jpg", "shapes": []}', '{"shapes": 3}'])
def test_other_files_stay(tmp_path, other):
    (tmp_path / 'out').mkdir()
    for name in ('a.json', 'a.jpg.json'):
        (tmp_path / 'out' / name).write_text(other)
    for _ in range(2):
        written(tmp_path, item(tmp_path, shaped('square')))
    assert [(tmp_path / 'out' / name).read_text() for name in ('a.json', 'a.jpg.json')] == [other] * 2
    assert len(content(tmp_path, 'a.jpg_2.json')['shapes']) == 1
    assert len(list((tmp_path / 'out').iterdir())) == 3


def test_an_image_of_another_folder_is_refused(tmp_path):
    labels = open_labels('labelme', tmp_path / 'out', images=tmp_path / 'elsewhere')
    with pytest.raises(DataError, match='does not lie in'):
        labels.add(item(tmp_path, shaped('square')))
    assert list((tmp_path / 'out').iterdir()) == []


def test_fewer_points_on_request(tmp_path):
    count = []
    for number, tolerance in enumerate((0, 1)):
        write_labels(
            'labelme', [item(tmp_path, shaped('rings'))], tmp_path / str(number), images=tmp_path / 'images', tolerance=tolerance
        )
        shapes = json.loads((tmp_path / str(number) / 'a.json').read_text())['shapes']
        count.append(sum(len(shape['points']) for shape in shapes))
    assert count[1] < 0.8 * count[0]
