"""Questions about several objects of a scene: every name has its mask, and MUSE's reader takes the files."""

from __future__ import annotations

import json
import re

import pytest
from pycocotools import mask as coco_mask

from lisa_mm.datasets.muse import MuseDataset
from projects.nano.demo.kinds import COLOURS, KINDS, SIZES
from projects.nano.demo.recorded import SEED
from projects.nano.demo.referring import referring
from projects.nano.demo.scenes import draw_scene
from projects.nano.demo.several import FEW, MANY
from projects.nano.demo.writer import write_demo


def meant(objects, name: str) -> list[int]:
    """Places of the objects that a name fits."""
    words = set(re.findall('[a-z]+', name))
    wanted = [words & set(values) for values in (KINDS, COLOURS, SIZES)]
    return [
        i for i, o in enumerate(objects) if all(not w or a in w for w, a in zip(wanted, (o.kind, o.colour, o.size), strict=True))
    ]


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_every_name_has_its_mask(split):
    counts = set()
    for index in range(20):
        scene = draw_scene(SEED, split, index)
        for of, row in referring(scene, SEED, f'{split}/x.jpg').several:
            (targets,), (answer,), (question,) = row['answers'], row['text_answers'], row['questions']
            names = [target['rephrased_name'] for target in targets]
            assert len(set(names)) == len(names) == answer.count('{seg}')
            assert question == f'Where are {answer[:-1].replace(" {seg}", "")}?'
            for target, name in zip(targets, names, strict=True):
                (place,) = meant(scene.objects, name)
                assert coco_mask.area(target['segmentation']) == scene.objects[place].mask.sum()
            least, most = FEW if len(names) <= FEW[1] else MANY
            assert least <= len(names) <= most
            assert of == (split if split != 'test' else 'test_less' if len(names) <= 3 else 'test_many')
            counts.add(len(names))
    assert counts >= {2, 3, 4}


def test_the_reader_takes_the_files(tmp_path):
    write_demo(tmp_path, num_workers=0, limit=4)
    for split in ('train', 'val', 'test_less', 'test_many'):
        dataset = MuseDataset(str(tmp_path), split=split, test_mode=True)
        rows = json.loads((tmp_path / 'muse' / f'muse_{split}.json').read_text())
        assert sum(len(dataset.rows(dataset.get_data_info(n))) for n in range(len(dataset))) == len(rows)
        asked = [dataset[n] for n in range(len(dataset))]
        assert sum(len(item['encoded_masks']) for item in asked) == sum(len(row['answers'][0]) for row in rows)
