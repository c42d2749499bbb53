"""Named pictures to paste: the emoji of the `emoji-datasource-*` packages of the npm registry, under their Unicode names."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lisa_mm.errors import DataError, UserError

KINDS: dict[str, tuple[str, ...]] = {
    'Animals & Nature': ('living thing', 'thing of nature'),
    'Food & Drink': ('food', 'thing to eat or drink'),
    'Activities': ('thing for fun', 'thing for sport, play or a feast'),
    'Objects': ('everyday item', 'man-made item'),
    'animal': ('animal',),
    'plant': ('plant',),
    'food-fruit': ('fruit',),
    'food-vegetable': ('vegetable',),
    'food-sweet': ('sweet',),
    'drink': ('drink',),
    'transport': ('vehicle', 'means of travel'),
    'place-building': ('building',),
    'clothing': ('piece of clothing',),
    'musical-instrument': ('musical instrument',),
    'tool': ('tool',),
    'sport': ('piece of sports gear',),
}
"""Phrases for all emoji of a Unicode group or subgroup (or of those with this prefix)."""

HUES = ((15, 'red'), (45, 'orange'), (68, 'yellow'), (165, 'green'), (255, 'blue'), (290, 'purple'), (345, 'pink'), (361, 'red'))
"""The hue at which each colour ends, in degrees."""

GROUPS = ('Animals & Nature', 'Food & Drink', 'Activities', 'Objects', 'Travel & Places')


@dataclass(frozen=True)
class Sticker:
    """An emoji and its drawings.

    Args:
        name: Unicode's English short name: "fishing pole".
        kinds: Phrases for everything of its kind: "animal", "living thing".
        colours: The dominant colour of each drawing, '' if there is none.
        drawings: (S, S, 4) uint8 RGBA, one per package.
    """

    name: str
    kinds: tuple[str, ...]
    drawings: tuple[np.ndarray, ...]
    colours: tuple[str, ...]


def read_stickers(packages: Sequence[str | Path]) -> list[Sticker]:
    """Read all things of all packages: animals, food, activities, objects, travel; no faces, people, signs or flags.

    Args:
        packages: Files such as `emoji-datasource-google-16.0.0.tgz`, as written by `npm pack`.

    Raises:
        UserError: if a package is missing, or `emoji`, which knows the names, is not installed.
        DataError: if a file is not such a package.
    """
    drawings: dict[str, list[np.ndarray]] = {}
    kinds: dict[str, tuple[str, ...]] = {}
    for package in packages:
        for name, found, picture in _package(Path(package)):
            drawings.setdefault(name, []).append(picture)
            kinds[name] = found
    return [
        Sticker(name, kinds[name], tuple(pictures), tuple(colour_of(picture) for picture in pictures))
        for name, pictures in sorted(drawings.items())
    ]


def _package(path: Path) -> list[tuple[str, tuple[str, ...], np.ndarray]]:
    """Name, kinds and picture of each emoji of a package."""
    if not path.is_file():
        raise UserError(f'{path} is missing. Get it: npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0')
    try:
        from emoji import EMOJI_DATA
    except ImportError as error:
        raise UserError('the names of emoji are in a package that is not installed: pip install lisa_mm[emoji]') from error
    try:
        with tarfile.open(path) as archive:
            files = {member.name: member for member in archive.getmembers()}
            listed = json.load(archive.extractfile(files['package/emoji.json']))  # pyright: ignore[reportArgumentType] - a file
            pictures = {name.split('/')[-1]: member for name, member in files.items() if name.split('/')[-2] == '64'}
            return [
                (name, _kinds(entry), _picture(archive, pictures[entry['image']]))
                for entry in listed
                if entry['category'] in GROUPS
                and entry['image'] in pictures
                and (name := _name(entry, EMOJI_DATA))
                and not name.endswith(('o’clock', '-thirty'))
            ]
    except (tarfile.TarError, KeyError, IndexError, ValueError) as error:
        raise DataError(f'{path} is no emoji-datasource package with 64-pixel pictures ({error!r}).', file=path) from error


def _name(entry: dict, names: dict) -> str:
    emoji = ''.join(chr(int(code, 16)) for code in entry['unified'].split('-'))
    return names.get(emoji, {}).get('en', '').strip(':').replace('_', ' ')


def _kinds(entry: dict) -> tuple[str, ...]:
    places = (entry['category'], entry['subcategory'], entry['subcategory'].split('-')[0])
    return tuple(phrase for place in dict.fromkeys(places) for phrase in KINDS.get(place, ()))


def _picture(archive: tarfile.TarFile, member: tarfile.TarInfo) -> np.ndarray:
    file = archive.extractfile(member)
    return np.asarray(Image.open(io.BytesIO(file.read())).convert('RGBA'))  # type: ignore - a member that is a file


def colour_of(picture: np.ndarray) -> str:
    """The name of the colour of at least half of the opaque pixels of a (S, S, 4) uint8 RGBA picture, or ''."""
    opaque = picture[picture[..., 3] > 127][:, :3]
    hue, saturation, value = cv2.cvtColor(opaque[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0].T
    names = np.array([name for _, name in HUES])[np.searchsorted([end for end, _ in HUES], hue, side='right')]
    names[(names == 'orange') & (value < 0.65)] = 'brown'
    grey = saturation < 0.2
    names[grey] = np.where(value[grey] > 0.8, 'white', 'grey')
    names[value < 0.28] = 'black'
    found, counts = np.unique(names, return_counts=True)
    return str(found[counts.argmax()]) if counts.max() >= len(opaque) / 2 else ''
