"""What all kinds of labels have in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lisa_mm.datasets import JsonlSegDataset, ReasonSegDataset
from lisa_mm.doctor import import_annotations
from lisa_mm.errors import DataError, UserError
from lisa_mm.labelling import KINDS, open_labels, write_labels

from .scenes import READ, image, item, shaped


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        ('Coco', {}, r"labels as 'Coco'; allowed: coco, labelme, reasonseg, jsonl\. Did you mean 'coco'"),
        ('labelme', {'polygons': True}, 'polygons=True is for coco; labelme has polygons always'),
        ('jsonl', {'polygons': True}, 'jsonl has run lengths always'),
        ('coco', {'tolerance': 1}, 'tolerance=1 is for polygons; coco gets run lengths'),
        ('labelme', {'tolerance': -1}, 'tolerance=-1; give a number of pixels'),
        ('labelme', {'tolerance': float('nan')}, 'tolerance=nan; give a number of pixels'),
    ],
)
def test_options_that_make_no_sense(tmp_path, kind, options, message):
    with pytest.raises(UserError, match=message):
        open_labels(kind, tmp_path / 'out', images=tmp_path, **options)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', KINDS)
def test_labels_come_one_by_one_and_twice(tmp_path, kind):
    made = []

    def items():
        for name in ('a.jpg', 'b.jpg', 'a.jpg'):
            made.append(name)
            yield item(tmp_path, shaped('blob'), name=name)

    files, notes = write_labels(kind, items(), tmp_path / 'out', images=tmp_path / 'images')
    assert made == ['a.jpg', 'b.jpg', 'a.jpg']
    assert all(path.exists() for path in files)
    assert list(notes.values()) == [1]
    with open_labels(kind, tmp_path / 'out', images=tmp_path / 'images') as labels:
        assert not labels.add(item(tmp_path, shaped('blob')))
        assert labels.add(item(tmp_path, shaped('blob'), question='the pot'))


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(DataError, match='is a file; the labels need a folder'):
        open_labels('coco', tmp_path / 'out', images=tmp_path)


def test_the_example_of_the_page(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / 'docs' / 'label_with_a_model.md').read_text(encoding='utf-8')
    (example,) = re.findall(r'```python\n(.*?)```', page, flags=re.S)
    monkeypatch.chdir(tmp_path)
    image(tmp_path / 'photos')
    names = {'found': {'a.jpg': shaped('blob')}}
    exec(example, names)
    assert [str(path) for path in names['files']] == ['labels/annotations.json']
    assert not names['notes']


def test_labels_of_every_kind_pass_the_check_of_data(tmp_path):
    """The formats know every field that is written, so an unknown one would be a note."""
    for kind in KINDS:
        write_labels(kind, [item(tmp_path, shaped('blob'), scores=[0.5])], tmp_path / kind, images=tmp_path / 'images')
    rows = JsonlSegDataset(str(tmp_path / 'jsonl'), file='labels.jsonl', **READ)
    shapes = ReasonSegDataset(str(tmp_path / 'reasonseg'), split='train', **READ)
    assert [rows.notes, shapes.notes] == [{}, {}]
    for source in (tmp_path / 'coco' / 'annotations.json', tmp_path / 'labelme'):
        assert import_annotations(source, tmp_path / f'{source.name}.jsonl', images=tmp_path / 'images') == (1, {})
