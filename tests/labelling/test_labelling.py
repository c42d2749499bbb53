"""What all kinds of labels have in common."""

from __future__ import annotations

import pytest

from lisa_mm.errors import DataError, UserError
from lisa_mm.labelling import KINDS, open_labels, write_labels

from .scenes import item, shaped


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
