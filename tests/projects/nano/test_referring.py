"""Phrases of the demo's relatives of refCOCO and gRefCOCO, and the files that their readers read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lisa_mm.datasets.masks import decode_mask
from lisa_mm.datasets.reading import read_refs
from lisa_mm.datasets.refer_seg import ReferSegDataset
from projects.nano.demo.kinds import COLOURS, HELD_OUT, KINDS, SIZES
from projects.nano.demo.questions import IMPLICIT, plural
from projects.nano.demo.recorded import SEED
from projects.nano.demo.referring import ABSENT, SINGLES, Referring, absent_phrases, referring, union_phrases
from projects.nano.demo.scenes import ObjectSpec, Scene, draw_scene
from projects.nano.demo.writer import write_demo

# "the red thing with a mast" -> the boat's; longest first, as one may begin another
DESCRIBED = [(re.compile(re.escape(text).replace(r'\{\}', '(.*)')), kind) for kind, texts in IMPLICIT.items() for text in texts]


@pytest.fixture(scope='module')
def drawn() -> list[tuple[Scene, Referring]]:
    scenes = [draw_scene(SEED, split, i) for split, count in (('train', 60), ('val', 30), ('test', 30)) for i in range(count)]
    return [(scene, referring(scene, SEED, f'{scene.split}/x.jpg')) for scene in scenes]


def meant(objects: list, text: str) -> set[int]:
    """The places of the objects that a phrase of one clause fits."""
    kinds = [kind for pattern, kind in DESCRIBED if pattern.fullmatch(text)]
    words = set(re.findall(r'[a-z]+', text)) if not kinds else {*text.split()[:3], kinds[0]}
    words |= {kind for kind in KINDS if plural(kind) in words}
    wanted = [words & set(values) for values in (KINDS, COLOURS, SIZES)]
    return {
        i for i, o in enumerate(objects) if all(not w or a in w for w, a in zip(wanted, (o.kind, o.colour, o.size), strict=True))
    }


def clauses(text: str) -> list[str]:
    """ "the red ball and the boat" has two; an "and" of a description is none."""
    return [text] if any(pattern.fullmatch(text) for pattern, _ in DESCRIBED) else text.split(' and ')


def test_phrases_mean_what_they_name(drawn: list[tuple[Scene, Referring]]) -> None:
    forms = set()
    for scene, entries in drawn:
        ids = [annotation['id'] for annotation in entries.annotations]
        for ref in entries.grefs:
            text = ref['sentences'][0]['sent']
            places = set().union(*(meant(scene.objects, clause) for clause in clauses(text)))
            assert ref['ann_id'] == ([ids[i] for i in sorted(places)] or [-1]), text
            assert ref['no_target'] == (not places)
            forms.add(min(len(places), 3))
        for ref in entries.refs:
            for sentence in ref['sentences']:
                assert [ids[i] for i in meant(scene.objects, sentence['sent'])] == [ref['ann_id']]
    assert forms == {0, 1, 2, 3}


def test_a_false_premise_has_the_wrong_colour(drawn: list[tuple[Scene, Referring]]) -> None:
    for scene, entries in drawn:
        assert len(entries.false_premises) == (0 if scene.split == 'train' else len(scene.objects))
        for place, ref in enumerate(entries.false_premises):
            right, wrong = ref['sentences']
            assert meant(scene.objects, right['sent']) == {place} and right['is_false_premise'] is False
            assert meant(scene.objects, wrong['sent']) == set() and wrong['is_false_premise'] is True
            assert place in meant(scene.objects, wrong['gt_sent'])
            assert ref['ann_id'] == entries.annotations[place]['id']


def test_training_never_names_a_held_out_combination(drawn: list[tuple[Scene, Referring]]) -> None:
    found = {'train': 0, 'val': 0, 'test': 0}
    names = [f' {colour} {kind}' for kind, colour in HELD_OUT.items()]
    for scene, entries in drawn:
        found[scene.split] += sum(name in ref['sentences'][0]['sent'] for ref in entries.grefs for name in names)
    assert found['train'] == 0 and min(found['val'], found['test']) > 0


def test_every_scene_has_all_forms(drawn: list[tuple[Scene, Referring]]) -> None:
    for scene, entries in drawn:
        counts = [len(ref['ann_id']) if not ref['no_target'] else 0 for ref in entries.grefs]
        assert counts.count(0) == 5 * ABSENT[scene.split]
        assert counts.count(1) == (len(scene.objects) if scene.split == 'train' else SINGLES)
        assert 1 <= sum(count > 1 for count in counts) <= 3


def test_a_scene_with_one_kind_in_all_colours_but_one() -> None:
    """Only the last colour is wrong, so the wrong colour is named once."""
    objects = [ObjectSpec('ball', colour, 'small') for colour in COLOURS if colour != 'black']
    for seed in range(20):
        phrases = absent_phrases(objects, np.random.default_rng(seed), each=3, held_out=True)
        assert phrases[6] in ('the black ball', 'the small black ball', 'the large black ball') and len(phrases) == 13
        assert all('ball' not in phrase for place, phrase in enumerate(phrases) if place != 6)
    unions = union_phrases(objects, np.random.default_rng(0))
    assert [len(places) for _, places in unions] == [2, 7] and unions[1][0] == 'all balls'


def test_masks_are_those_of_the_scene(drawn: list[tuple[Scene, Referring]]) -> None:
    for scene, entries in drawn[:20]:
        for o, annotation in zip(scene.objects, entries.annotations, strict=True):
            assert np.array_equal(coco_mask.decode(annotation['segmentation']), o.mask)
            left, top, width, height = annotation['bbox']
            rows, columns = o.mask.nonzero()
            assert [left, top, width, height] == [
                columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
            ]  # fmt: skip


def test_the_readers_read_the_files(demo: Path) -> None:
    for name in ('refcoco', 'grefcoco'):
        counts = {}
        for split in ('train', 'val', 'testA', 'testB'):
            dataset = ReferSegDataset(str(demo), name=name, split=split, test_mode=True)
            counts[split] = len(dataset)
            for n in range(len(dataset)):
                record = dataset.get_data_info(n)
                index = int(record['sample_id'][-8:-4])
                scene = draw_scene(SEED, split[:4] if 'test' in split else split, index)
                assert Path(record['img_path']).resolve().parent.name == scene.split
                encoded = dataset.ask(record, np.random.default_rng(0)).masks
                masks = [decode_mask(mask, *scene.image.shape[:2], 'here') for mask in encoded]
                union = np.sum([o.mask for o in scene.objects], axis=0)
                assert all(not (mask > union).any() for mask in masks)
                assert any(not mask.any() for mask in masks) == (name == 'grefcoco')
        assert counts['train'] == counts['val'] == counts['testA'] + counts['testB'] == 6
        assert min(counts.values()) > 0


def test_an_older_set_gets_the_new_folders(tmp_path: Path) -> None:
    """A folder that the version without them wrote is drawn again, and holds the same."""
    root = write_demo(tmp_path / 'demo', ['val'], num_workers=0, limit=2)
    before = (root / 'reason_seg' / 'ReasonSeg' / 'val' / 'val_0001.json').read_bytes()
    wrote = (root / 'refer_seg' / 'grefcoco' / 'grefs(unc).json').read_bytes()
    moved = tmp_path / 'elsewhere'
    (root / 'refer_seg').rename(moved)
    write_demo(root, ['val'], num_workers=0, limit=2)
    assert (root / 'refer_seg' / 'grefcoco' / 'grefs(unc).json').read_bytes() == wrote
    assert (root / 'reason_seg' / 'ReasonSeg' / 'val' / 'val_0001.json').read_bytes() == before
    premises = read_refs(root / 'refer_seg' / 'fprefcoco' / 'refs(berkeley_exclude_unified).p')
    assert {ref['file_name'] for ref in premises} == {'val/val_0000.jpg', 'val/val_0001.jpg'}
    assert (root / 'refer_seg' / 'images/mscoco/images/train2014/val/val_0001.jpg').is_file()
    assert sorted(path.name for path in root.iterdir()) == ['muse', 'reason_seg', 'refer_seg']
