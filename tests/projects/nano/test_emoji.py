"""Scenes of emoji, from small packages of the real layout."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_mm.datasets.jsonl_seg import JsonlSegDataset
from lisa_mm.errors import DataError, UserError
from projects.nano.emoji import read_stickers, write_scenes
from projects.nano.emoji.scenes import MIN_VISIBLE, _paste, draw_scene
from projects.nano.emoji.stickers import Sticker, colour_of
from projects.nano.emoji.writer import named_rows

ROOT = Path(__file__).parents[3]
EMOJI = {  # unified: category, subcategory, colour
    '1F3A3': ('Activities', 'sport', (200, 20, 20)),
    '1F40C': ('Animals & Nature', 'animal-bug', (20, 200, 20)),
    '1F34E': ('Food & Drink', 'food-fruit', (20, 20, 200)),
    '1F511': ('Objects', 'lock', (200, 200, 20)),
    '1F680': ('Travel & Places', 'transport-air', (20, 200, 200)),
    '1F600': ('Smileys & Emotion', 'face-smiling', (250, 250, 0)),
    '1F550': ('Travel & Places', 'time', (0, 0, 0)),
}


def package(path: Path, style: str = 'google', folder: str = '64', without: str = '') -> Path:
    """A package as `npm pack` writes it: a filled square of one colour, a tenth of it clear on each side."""
    with tarfile.open(path, 'w:gz') as archive:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(f'package/{name}')
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        entries = []
        for unified, (category, subcategory, colour) in EMOJI.items():
            image = f'{unified.lower()}.png'
            entries.append({'unified': unified, 'image': image, 'category': category, 'subcategory': subcategory})
            if unified == without:
                continue
            pixels = np.zeros((64, 64, 4), np.uint8)
            pixels[6:58, 6:58] = (*colour, 255)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, 'PNG')
            add(f'img/{style}/{folder}/{image}', file.getvalue())
        add('emoji.json', json.dumps(entries).encode())
        add('README.md', b'pictures')
    return path


@pytest.fixture
def stickers(tmp_path: Path) -> list[Sticker]:
    return read_stickers([package(tmp_path / 'google.tgz'), package(tmp_path / 'twitter.tgz', 'twitter', without='1F680')])


def test_things_only_by_their_unicode_names(stickers: list[Sticker]) -> None:
    found = {s.name: s for s in stickers}
    assert sorted(found) == ['fishing pole', 'key', 'red apple', 'rocket', 'snail']  # no face, no clock
    assert {name: len(s.drawings) for name, s in found.items()} == {
        'fishing pole': 2,
        'key': 2,
        'red apple': 2,
        'rocket': 1,
        'snail': 2,
    }
    assert {'animal', 'living thing'} <= set(found['snail'].kinds)
    assert {'fruit', 'food'} <= set(found['red apple'].kinds)
    assert 'vehicle' in found['rocket'].kinds
    assert found['fishing pole'].colours == ('red', 'red') and found['snail'].colours == ('green', 'green')
    assert [found[name].colours[0] for name in ('red apple', 'key', 'rocket')] == ['blue', 'yellow', 'blue']


@pytest.mark.parametrize(
    ('make', 'error', 'words'),
    [
        (lambda path: path, UserError, 'npm pack'),
        (lambda path: (path.write_bytes(b'no archive'), path)[1], DataError, '64-pixel'),
    ],
)
def test_what_is_no_package(tmp_path: Path, make, error, words: str) -> None:
    with pytest.raises(error, match=words):
        read_stickers([make(tmp_path / 'some.tgz')])


def test_a_scene_is_a_function_of_its_index(stickers: list[Sticker]) -> None:
    first, again, other = (draw_scene(3, 'train', index, stickers)[0] for index in (5, 5, 6))
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()
    assert first.shape != (val := draw_scene(3, 'val', 5, stickers)[0]).shape or (first != val).any()


def test_masks_are_what_is_seen(stickers: list[Sticker]) -> None:
    colours = {'fishing pole': 0, 'snail': 1, 'red apple': 2}  # the strongest channel, whatever the light
    for index in range(40):
        image, pasted, _ = draw_scene(0, 'train', index, stickers)
        assert 1 <= len(pasted) <= len(stickers)
        assert len({one.sticker.name for one in pasted}) == len(pasted)
        assert sum(one.mask.astype(int) for one in pasted).max() == 1  # no pixel has two owners
        for one in pasted:
            assert one.mask.shape == image.shape[:2] and one.mask.any()
            if one.sticker.name in colours:
                middle = np.median(image[one.mask > 0], axis=0)
                assert middle.argmax() == colours[one.sticker.name], (index, one.sticker.name, middle)
        last = pasted[-1].mask  # nothing covers it: a filled square, turned and stretched a little
        ys, xs = np.nonzero(last)
        assert last.sum() > 0.5 * (np.ptp(ys) + 1) * (np.ptp(xs) + 1)


@pytest.mark.parametrize(
    ('colour', 'name'),
    [((128, 128, 128), 'grey'), ((250, 250, 250), 'white'), ((10, 10, 10), 'black'), ((120, 70, 30), 'brown')],
)
def test_colours_without_a_hue(colour: tuple[int, int, int], name: str) -> None:
    assert colour_of(np.full((4, 4, 4), (*colour, 255), np.uint8)) == name


def test_no_colour_where_none_prevails() -> None:
    picture = np.zeros((3, 4, 4), np.uint8)
    picture[..., 3] = 255
    picture[0, :, 0], picture[1, :, 1], picture[2, :, 2] = 200, 200, 200
    assert colour_of(picture) == ''


def test_later_ones_leave_the_earlier_visible() -> None:
    """Squares of one size that fill most of the scene: few fit, and each keeps its share."""
    rng = np.random.default_rng(0)
    square = np.full((64, 64, 4), 255, np.uint8)
    canvas, owner = np.zeros((220, 220, 3), np.float32), np.zeros((220, 220), np.int32)
    areas: list[int] = []
    placed = [_paste(rng, canvas, owner, areas, square) for _ in range(40)]
    assert sum(placed) == len(areas)
    assert 3 < len(areas) < 40
    seen = [(owner == number).sum() / area for number, area in enumerate(areas, 1)]
    assert MIN_VISIBLE <= min(seen) < 0.9  # some are covered, none too much, not even by several
    assert seen[-1] == 1


def test_photographs_are_the_ground(stickers: list[Sticker], tmp_path: Path) -> None:
    Image.new('RGB', (300, 200), (255, 0, 255)).save(tmp_path / 'pink.jpg')
    grounds = [draw_scene(0, 'train', i, stickers, [tmp_path / 'pink.jpg'])[0][0, 0] for i in range(20)]
    pink = sum(bool((abs(g.astype(int) - (255, 0, 255)) < 30).all()) for g in grounds)
    assert 8 <= pink < 20


def test_a_photograph_that_is_none(stickers: list[Sticker], tmp_path: Path) -> None:
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(DataError, match=r'broken\.jpg cannot be read'):  # some scenes have a texture
        [draw_scene(0, 'train', index, stickers, [tmp_path / 'broken.jpg']) for index in range(20)]


def test_rows_of_names_and_kinds(stickers: list[Sticker]) -> None:
    for index in range(20):
        _, pasted, rng = draw_scene(0, 'train', index, stickers)
        rows = named_rows(pasted, rng)
        assert [row['phrase'].removeprefix('the ') for row in rows[: len(pasted)]] == [one.sticker.name for one in pasted]
        for row in rows[len(pasted) :]:
            phrase = row['phrase'].removeprefix('the ')
            having = [phrase in one.sticker.kinds or phrase == f'{one.sticker.colours[one.drawing]} thing' for one in pasted]
            assert any(having) and not all(having)
            wanted = np.maximum.reduce([one.mask for one, has in zip(pasted, having, strict=True) if has])
            assert (coco_mask.decode(row['masks'][0]) == wanted).all()
        assert len(named_rows(pasted, rng, groups=False)) == len(pasted)


def test_written_as_the_reader_reads(tmp_path: Path) -> None:
    packages = [package(tmp_path / 'google.tgz')]
    assert write_scenes(tmp_path / 'set', packages, train=12, val=4) == 5
    train = JsonlSegDataset(str(tmp_path / 'set'), file='train.jsonl', cache_index=False)
    assert len(train) == 12
    val = JsonlSegDataset(str(tmp_path / 'set'), file='val.jsonl', test_mode=True, cache_index=False)
    assert len(val) >= 4
    assert (tmp_path / 'set' / 'tokenizer' / 'tokenizer.json').is_file()
    with pytest.raises(UserError, match='exists already'):
        write_scenes(tmp_path / 'set', packages)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'no \.jpg'):
        write_scenes(tmp_path / 'other', packages, tmp_path / 'empty')
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(('name', 'value'), [('train', 0), ('train', -1), ('val', 0), ('workers', 0)])
def test_a_set_without_a_scene(tmp_path: Path, name: str, value: int) -> None:
    numbers = {'train': 2, 'val': 1, 'workers': 1, name: value}
    with pytest.raises(UserError, match=f'{name}={value}: at least 1'):
        write_scenes(tmp_path / 'set', [package(tmp_path / 'google.tgz')], **numbers)
    assert not (tmp_path / 'set').exists()


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, 'tools/make_emoji_scenes.py', str(tmp_path / 'set'), *arguments]
        return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    done = run(str(tmp_path / 'none.tgz'))
    assert done.returncode != 0 and 'none.tgz' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'set').exists()
    done = run(str(package(tmp_path / 'google.tgz')), '--train', '3', '--val', '2', '--workers', '1')
    assert done.returncode == 0, done.stderr
    assert '3 + 2 scenes of 5 named emoji' in done.stdout and 'lisa_emoji_pretrain.py' in done.stdout
    assert len(list((tmp_path / 'set' / 'images').glob('train_*'))) == 3
