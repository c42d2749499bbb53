"""Laws of the demo set that can be checked by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_mm.errors import UserError
from projects.nano.demo.backgrounds import FAMILIES
from projects.nano.demo.kinds import COLOURS, HELD_OUT, KINDS, SIZES
from projects.nano.demo.questions import EXPLANATIONS, IMPLICIT
from projects.nano.demo.recorded import COUNTS, SEED, SPLITS_FILE
from projects.nano.demo.records import mask_to_polygons, pretraining_rows, reasoning_item
from projects.nano.demo.scenes import Scene, choose_objects, draw_scene, scene_rng
from projects.nano.demo.writer import verify_splits, write_demo

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def scenes() -> dict[str, list[Scene]]:
    counts = {'train': 60, 'val': 60, 'test': 120, 'pretrain': 40, 'pretrain_val': 20}
    return {split: [draw_scene(SEED, split, i) for i in range(n)] for split, n in counts.items()}


@pytest.fixture(scope='module')
def every(scenes: dict[str, list[Scene]]) -> list[Scene]:
    return [scene for group in scenes.values() for scene in group]


def items_of(scene: Scene) -> list[dict]:
    item = reasoning_item(scene, SEED, 'x.jpg')
    return [item, *item['others']]


def rasterised(shapes: list[dict], height: int, width: int) -> np.ndarray:
    """As ReasonSeg's reader does it: int-cut points, outline and filling."""
    mask = np.zeros((height, width), np.uint8)
    for shape in shapes:
        points = np.array([shape['points']], np.int32)
        cv2.polylines(mask, points, True, 1, 1)  # pyright: ignore[reportCallIssue] - the stub knows lists alone
        cv2.fillPoly(mask, points, 1)  # pyright: ignore[reportCallIssue] - the stub knows lists alone
    return mask


def described(scene: Scene, text: str) -> list[str]:
    """The names of the objects that have all the attributes which the text names."""
    words = set(re.findall(r'[a-z]+', text.lower()))
    wanted = [words & set(values) for values in (KINDS, COLOURS, SIZES)]
    return [
        o.name for o in scene.objects if all(not w or a in w for w, a in zip(wanted, (o.kind, o.colour, o.size), strict=True))
    ]


def test_inventory() -> None:
    assert len(KINDS) >= 12 and len(COLOURS) == 8 and len(SIZES) == 2 and len(FAMILIES) >= 6
    assert set(HELD_OUT) == set(KINDS) == set(IMPLICIT) == set(EXPLANATIONS)
    assert set(Counter(HELD_OUT.values()).values()) == {2}
    assert len(Counter(HELD_OUT.values())) == 8


def test_scenes_are_crowded_and_their_objects_small(every: list[Scene]) -> None:
    assert all(6 <= len(s.objects) <= 9 for s in every)
    assert all(o.visible >= 0.6 for s in every for o in s.objects)
    assert 0.02 < np.median([o.mask.mean() for s in every for o in s.objects]) < 0.05
    assert np.mean([any(o.visible < 1 for o in s.objects) for s in every]) > 0.5
    twins = np.mean([len({o.kind for o in s.objects}) < len(s.objects) for s in every])
    assert 0.4 < twins < 0.65
    assert all(len({o.name for o in s.objects}) == len(s.objects) for s in every)


def test_images_are_not_square_and_masks_are_disjoint(every: list[Scene]) -> None:
    for scene in every:
        height, width, _ = scene.image.shape
        assert 128 <= min(height, width) <= 160 and 176 <= max(height, width) <= 208
        assert scene.image.dtype == np.uint8
        masks = np.stack([o.mask for o in scene.objects])
        assert masks.dtype == np.uint8 and masks.shape[1:] == (height, width)
        assert masks.sum(axis=0).max() == 1
        assert (masks.sum(axis=(1, 2)) > 100).all()


def test_a_scene_is_a_function_of_its_number() -> None:
    first, again = draw_scene(SEED, 'test', 5), draw_scene(SEED, 'test', 5)
    assert np.array_equal(first.image, again.image)
    assert reasoning_item(first, SEED, 'x.jpg') == reasoning_item(again, SEED, 'x.jpg')
    for seed, split, index in ((SEED + 1, 'test', 5), (SEED, 'val', 5), (SEED, 'test', 6)):
        other = draw_scene(seed, split, index)
        assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_held_out_combinations_are_only_in_val_and_test(scenes: dict[str, list[Scene]]) -> None:
    for split, count in (('train', COUNTS['train']), ('pretrain', 3000), ('pretrain_val', 300)):
        for i in range(count):
            specs, _ = choose_objects(scene_rng(SEED, split, i), split, i)
            assert all(HELD_OUT[s.kind] != s.colour for s in specs)
    for split in ('val', 'test'):
        targets = [s.objects[s.target] for s in scenes[split]]  # pyright: ignore[reportCallIssue] - it has one
        assert 0.45 < np.mean([HELD_OUT[t.kind] == t.colour for t in targets]) < 0.55
        assert {t.kind for t in targets} == set(KINDS)
    shown = {(t.kind, t.colour) for t in (s.objects[s.target] for s in scenes['test'])}  # pyright: ignore[reportCallIssue] - it has one
    assert shown >= set(HELD_OUT.items())


def test_share_of_implicit_items(scenes: dict[str, list[Scene]]) -> None:
    share = {s: np.mean([reasoning_item(x, SEED, '')['is_sentence'] for x in scenes[s]]) for s in COUNTS}
    assert share['train'] == pytest.approx(0.6, abs=0.05)
    assert share['val'] == pytest.approx(0.5, abs=0.05) and share['test'] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize('kind', KINDS)
def test_implicit_phrasings_do_not_name_a_kind(kind: str) -> None:
    phrasings = IMPLICIT[kind]
    assert len(set(phrasings)) == len(phrasings) >= 8
    for phrasing in phrasings:
        assert phrasing.count('{}') == 1
        assert len(phrasing.format('red thing').split()) <= 12
        assert kind not in phrasing
        assert not set(re.findall(r'[a-z]+', phrasing)) & {k + plural for k in KINDS for plural in ('', 's')}
    elsewhere = {p for k in KINDS if k != kind for p in IMPLICIT[k]}
    assert not elsewhere & set(phrasings)


def test_texts_ask_for_exactly_one_object(scenes: dict[str, list[Scene]]) -> None:
    for scene in (s for split in COUNTS for s in scenes[split]):
        items = items_of(scene)
        assert items[0]['name'] == scene.objects[scene.target].name  # pyright: ignore[reportCallIssue] - it has one
        assert sorted(i['name'] for i in items) == sorted(o.name for o in scene.objects)
        for item in items:
            assert len(set(item['text'])) == len(item['text']) >= 2
            kind = item['name'].split()[-1]
            for text in item['text']:
                if item['is_sentence']:
                    # With the kind that only its phrasing tells, the colour word if any decides.
                    assert described(scene, f'{text} {kind}') == [item['name']]
                else:
                    assert described(scene, text) == [item['name']]


def test_polygons_give_the_masks_back(scenes: dict[str, list[Scene]]) -> None:
    for scene in scenes['test']:
        masks = {o.name: o.mask for o in scene.objects}
        for item in items_of(scene):
            mask = masks[item['name']]
            drawn = rasterised(item['shapes'], *mask.shape)
            assert (mask & drawn).sum() / (mask | drawn).sum() >= 0.97


def test_polygons_of_holes_parts_and_specks() -> None:
    mask = np.zeros((60, 70), np.uint8)
    mask[5:40, 5:40] = 1
    mask[10:18, 10:20] = 0
    mask[25:35, 15:36] = 0
    mask[29:31, 20:30] = 1
    mask[50:55, 50:60] = 1
    mask[58, 2] = 1
    polygons = mask_to_polygons(mask)
    assert len(polygons) == 4 and all(len(p) >= 3 for p in polygons)
    assert np.array_equal(rasterised([{'points': p} for p in polygons], 60, 70), mask)


def test_pretraining_rows_are_explicit(scenes: dict[str, list[Scene]]) -> None:
    implicit = re.compile('|'.join(re.escape(p).replace(r'\{\}', '.*') for k in IMPLICIT for p in IMPLICIT[k]))
    for scene in scenes['pretrain'] + scenes['pretrain_val']:
        rows = pretraining_rows(scene, SEED, 'images/000000.jpg')
        named = [r for r in rows if 'phrase' in r]
        assert len(named) == len(scene.objects) and len(rows) == len(named) + 2
        for row, obj in zip(named, scene.objects, strict=True):
            assert described(scene, row['phrase']) == [obj.name]
            assert np.array_equal(coco_mask.decode(row['masks'][0]), obj.mask)
        for row in rows:
            assert not implicit.search(row.get('phrase') or row['question'])
            assert row.get('phrase') or row['masks'] == []
        assert all(o.name in rows[-2]['answer'].lower() for o in scene.objects)


def test_splits_are_drawn_as_recorded() -> None:
    recorded = json.loads(SPLITS_FILE.read_text(encoding='utf-8'))
    assert recorded['seed'] == SEED and recorded['held_out'] == HELD_OUT
    assert {s: recorded['splits'][s]['count'] for s in COUNTS} == COUNTS
    assert verify_splits(prefix_only=True, num_workers=0) == []


def test_written_folders(tmp_path: Path) -> None:
    root = write_demo(tmp_path / 'demo', pretrain_scenes=3, pretrain_val_scenes=2, num_workers=0, limit=4)
    base = root / 'reason_seg' / 'ReasonSeg'
    assert sorted(p.name for p in root.iterdir()) == ['muse', 'pretrain', 'reason_seg', 'refer_seg']
    for split in COUNTS:
        names = sorted(p.name for p in (base / split).iterdir())
        assert names == sorted(f'{split}_{i:04d}.{end}' for i in range(4) for end in ('jpg', 'json'))
        scene = draw_scene(SEED, split, 0)
        with Image.open(base / split / f'{split}_0000.jpg') as image:
            assert np.abs(np.asarray(image).astype(int) - scene.image).mean() < 4
        item = json.loads((base / split / f'{split}_0000.json').read_text(encoding='utf-8'))
        assert item == reasoning_item(scene, SEED, f'{split}_0000.jpg')
    explained = json.loads((base / 'explanatory' / 'train.json').read_text(encoding='utf-8'))
    assert explained
    for record in explained:
        item = json.loads((base / 'train' / record['json']).read_text(encoding='utf-8'))
        assert record['query'] in item['text'] and item['name'] in record['outputs']
        assert (base / 'train' / record['image']).is_file()
    for name, count in (('train', 3), ('val', 2)):
        rows = [json.loads(line) for line in (root / 'pretrain' / f'{name}.jsonl').read_text(encoding='utf-8').splitlines()]
        assert len({r['image'] for r in rows}) == count
        assert all((root / 'pretrain' / r['image']).is_file() for r in rows)


@pytest.mark.parametrize(
    ('numbers', 'said'),
    [
        ({'limit': 0}, 'limit=0: at least 1'),
        ({'pretrain_scenes': -1}, 'pretrain_scenes=-1: at least 0'),
        ({'pretrain_scenes': 1, 'pretrain_val_scenes': 0}, 'pretrain_val_scenes=0: at least 1'),
        ({'seed': -1}, 'seed=-1: at least 0'),
        ({'splits': []}, 'no split'),
    ],
)
def test_a_set_without_a_scene(tmp_path: Path, numbers: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        write_demo(tmp_path / 'demo', **numbers)
    assert not (tmp_path / 'demo').exists()


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / 'tools' / 'make_demo.py'), *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

    done = run('demo', '--limit', '0')
    assert done.returncode == 1 and done.stderr == 'error: limit=0: at least 1 is needed.\n'
    done = run('demo', '--limit', '1', '--splits', 'val', '--preview', 'sheet.png')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'sheet.png').is_file() and len(list((tmp_path / 'demo').rglob('*.jpg'))) == 1


def test_the_help_loads_no_library() -> None:
    """It answers at once: neither torch nor OpenCV is imported before the arguments are read."""
    program = "import sys; sys.argv = ['x', '--help']\ntry: main()\nexcept SystemExit: print({'torch', 'cv2'} & set(sys.modules))"
    command = [sys.executable, '-c', f'from projects.nano.commands.make_demo import main\n{program}']
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.endswith('set()\n')


def test_a_finished_folder_is_kept_and_a_foreign_one_refused(tmp_path: Path) -> None:
    root = write_demo(tmp_path, splits=['val'], num_workers=0, limit=2)
    mark = root / 'reason_seg' / 'mark'
    mark.touch()
    write_demo(tmp_path, splits=['val'], num_workers=0, limit=2)
    assert mark.exists()
    write_demo(tmp_path, splits=['val'], num_workers=0, limit=2, seed=SEED + 1)
    assert not mark.exists()
    (root / 'reason_seg' / 'done.json').unlink()
    with pytest.raises(UserError, match='choose another folder'):
        write_demo(tmp_path, splits=['val'], num_workers=0, limit=2)
    with pytest.raises(UserError, match="unknown split 'dev'"):
        write_demo(tmp_path, splits=['dev'])
