"""Labels as COCO, read by pycocotools, our reader and our importer."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from lisa_mm.datasets import JsonlSegDataset
from lisa_mm.datasets.coco import CocoFile
from lisa_mm.doctor import import_annotations
from lisa_mm.labelling import open_labels, write_labels
from lisa_mm.labelling.coco import AS_RUNS
from lisa_mm.labelling.writer import EMPTY, KNOWN

from .scenes import HEIGHT, NAMES, READ, SHAPES, WIDTH, item, masks_of, shaped


def written(tmp_path, *items, **options):
    return write_labels('coco', items, tmp_path / 'out', images=tmp_path / 'images', **options)


def opened(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize('polygons', [False, True])
@pytest.mark.parametrize('kind', SHAPES)
def test_every_mask_comes_back(tmp_path, kind, polygons):
    (path,), notes = written(tmp_path, item(tmp_path, shaped(kind), scores=[0.75]), polygons=polygons)
    runs = kind in ('first pixel', 'checkerboard')
    assert notes == ({AS_RUNS: 1} if polygons and runs else {})
    coco = opened(path)
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert isinstance(annotation['segmentation'], list if polygons and not runs else dict)
    mask = shaped(kind)
    assert (coco.annToMask(annotation) == mask).all()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    assert (annotation['bbox'], annotation['area'], annotation['iscrowd']) == (box, mask.sum(), 0)
    assert dict(annotation)['score'] == 0.75
    content = CocoFile(path)
    content.annotation(1)
    assert not content.notes
    import_annotations(path, tmp_path / 'rows.jsonl', images=tmp_path / 'images')
    (read,) = masks_of(JsonlSegDataset(str(tmp_path), file='rows.jsonl', **READ)).values()
    assert (read == mask).all()


def test_images_categories_and_ids(tmp_path):
    items = [
        *[item(tmp_path, shaped('square'), name=name) for name in NAMES],
        item(tmp_path, shaped('blob'), shaped('empty'), question='What holds tea?  Please output segmentation mask.'),
        item(tmp_path, question='the dragon', text='There is none.', name='none.jpg'),
    ]
    (path,), notes = written(tmp_path, *items)
    assert notes == {EMPTY: 1}
    coco = opened(path)
    assert {image['file_name']: number for number, image in coco.imgs.items()} == {
        name: number for number, name in enumerate([*NAMES, 'none.jpg'], 1)
    }
    assert {(image['height'], image['width']) for image in coco.imgs.values()} == {(HEIGHT, WIDTH)}
    assert {number: entry['name'] for number, entry in coco.cats.items()} == {
        1: 'the red cup',
        2: 'What holds tea?',
        3: 'the dragon',
    }
    assert [(a['id'], a['image_id'], a['category_id']) for a in coco.loadAnns(coco.getAnnIds())] == [
        *[(n, n, 1) for n in range(1, 6)],
        (6, 1, 2),
    ]
    assert coco.getAnnIds(imgIds=[6]) == []


def test_no_label_at_all_is_a_file_too(tmp_path):
    (path,), _ = written(tmp_path)
    assert opened(path).getAnnIds() == []


def test_runs_of_several_days_keep_their_ids(tmp_path):
    items = [item(tmp_path, shaped(kind), question=kind) for kind in SHAPES]
    written(tmp_path, *items[:5])
    early = json.loads((tmp_path / 'out' / 'annotations.json').read_text())
    with (tmp_path / 'out' / 'coco_parts.jsonl').open('a') as file:
        file.write('{"image": "a.jpg", "hei')  # a crash
    (path,), notes = written(tmp_path, *items)
    assert notes.pop(KNOWN) == 5
    assert len(notes) == 1 and 'was cut' in next(iter(notes))
    late = json.loads(path.read_text())
    for key in ('images', 'categories', 'annotations'):
        assert late[key][: len(early[key])] == early[key]
    assert len(late['annotations']) == len(SHAPES)
    again = path.read_bytes()
    parts = (tmp_path / 'out' / 'coco_parts.jsonl').read_bytes()
    assert written(tmp_path, *items)[0] == [path]
    assert path.read_bytes() == again
    assert (tmp_path / 'out' / 'coco_parts.jsonl').read_bytes() == parts
    assert sorted(found.name for found in path.parent.iterdir()) == ['annotations.json', 'coco_parts.jsonl']


def test_a_file_that_was_changed_stays(tmp_path):
    first, second = item(tmp_path, shaped('square')), item(tmp_path, shaped('blob'), question='the pot')
    (path,), _ = written(tmp_path, first)
    path.write_text('{"mine": 1}')
    (other,), notes = written(tmp_path, second)
    assert path.read_text() == '{"mine": 1}'
    assert other.name == 'annotations_2.json'
    assert any('was changed' in note for note in notes)
    assert len(opened(other).getAnnIds()) == 2
    third = item(tmp_path, shaped('line'), question='the line')
    assert written(tmp_path, third)[0] == [other]  # its own one is written anew
    assert len(opened(other).getAnnIds()) == 3


def test_a_crash_at_the_end_leaves_the_old_file(tmp_path, monkeypatch):
    (path,), _ = written(tmp_path, item(tmp_path, shaped('square')))
    before = path.read_bytes()
    labels = open_labels('coco', tmp_path / 'out', images=tmp_path / 'images')
    labels.add(item(tmp_path, shaped('blob'), question='the pot'))
    monkeypatch.setattr(labels, '_annotations', lambda images, labels: iter([{'a': object()}]))
    with pytest.raises(TypeError):
        labels.finish()
    assert path.read_bytes() == before


def test_simplified_polygons(tmp_path):
    (path,), _ = written(tmp_path, item(tmp_path, shaped('two holes in a row')), polygons=True, tolerance=1)
    coco = opened(path)
    mask, found = shaped('two holes in a row'), coco.annToMask(coco.loadAnns([1])[0]) == 1
    assert 0.95 <= (found & mask).sum() / (found | mask).sum() < 1
