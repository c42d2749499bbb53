"""Seeded damage to any file of a data set: values and keys of records, bytes, encodings, pixels."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3.7, 1e10, 4e10, -2e8, 2**31, 2**64, 10**30, float('nan'), float('inf'), -float('inf'),
    '', ' ', 'x', '[SEG]', '<image>', 'false', '\ud800', '\0', 'é' * 3, 'a' * 100_000, [], {}, [[]], [None], [0, 0],
    [[0.1, 0.2], [0.5, 0.5], [0.9, 0.1]], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, 6], [[[[1]]]], {'x': 1}, [{}], ['x'],
    {'size': [48, 64], 'counts': 'ab'}, {'size': [48, 64], 'counts': [0, 3072]}, {'size': [1, 1], 'counts': [0, 1]},
    {'size': [10**6, 10**6], 'counts': [10**12]}, {'size': [48, 64], 'counts': '0' * 50}, {'size': 'x', 'counts': []},
    '/etc/passwd', '../..', '.', 'mask.png', [[-1000, 5], [20, 30], [30, 5]], [[-5, -5], [90, 20], [30, 70]],
)  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside a json value."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in ((*path, key), *places(value, (*path, key)))]


def damage_record(content: Any, rng: np.random.Generator) -> Any:
    """Change one to three values, keys or lengths anywhere."""
    content = copy.deepcopy(content)
    for _ in range(int(rng.integers(1, 4))):
        found = places(content)
        if not found:
            return VALUES[int(rng.integers(len(VALUES)))]
        *way, last = found[int(rng.integers(len(found)))]
        holder = content
        for key in way:
            holder = holder[key]
        kind = int(rng.integers(8))
        if kind < 4:
            holder[last] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        elif kind == 4:
            del holder[last]
        elif kind == 5 and isinstance(holder, list):
            holder.insert(int(rng.integers(len(holder) + 1)), copy.deepcopy(holder[last]))
        elif kind == 6 and isinstance(holder, dict):
            holder[f'{last}s' if rng.random() < 0.5 else 'unknown'] = holder.pop(last)
        elif isinstance(holder[last], str) and holder[last]:
            text = holder[last]
            place = int(rng.integers(len(text)))
            holder[last] = text[:place] + chr(int(rng.integers(33, 0x250))) + text[place + 1 :]
        else:
            holder[last] = [copy.deepcopy(holder[last])]
    return content


def damage_bytes(raw: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, insert or empty."""
    kind = int(rng.integers(5))
    if kind == 0:
        return raw[: int(rng.integers(len(raw) + 1))]
    if kind == 1:
        return b''
    changed = bytearray(raw)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(len(changed)))
        if kind == 2:
            changed[place] = int(rng.integers(256))
        elif kind == 3:
            changed.insert(place, int(rng.integers(256)))
        else:
            del changed[place]
    return bytes(changed)


def damage_text(path: Path, rng: np.random.Generator) -> None:
    """Damage a json, jsonl or pickle: its values, its encoding or its bytes."""
    raw = path.read_bytes()
    kind = int(rng.integers(10))
    if kind == 0:
        path.write_bytes(damage_bytes(raw, rng))
        return
    if kind == 1 and path.suffix != '.p':
        text = raw.decode().replace('cup', '红色杯子').replace('dog', 'café').replace('Hi', 'ça’')
        encodings = ('gbk', 'utf-16', 'utf-8-sig', 'utf-16-le', 'cp1252', 'utf-32')
        path.write_bytes(text.encode(encodings[int(rng.integers(len(encodings)))], errors='ignore'))
        return
    if path.suffix == '.p':
        path.write_bytes(pickle.dumps(damage_record(pickle.loads(raw), rng)))
    elif path.suffix == '.jsonl':
        lines = [json.loads(line) for line in raw.decode().splitlines()]
        number = int(rng.integers(len(lines)))
        lines[number] = damage_record(lines[number], rng)
        path.write_text('\n'.join(map(json.dumps, lines)), encoding='utf-8')
    else:
        path.write_text(json.dumps(damage_record(json.loads(raw), rng)), encoding='utf-8')


def damage_image(path: Path, rng: np.random.Generator) -> None:
    """Damage an image or a mask: its bytes, its mode, its size, its values, its format."""
    kind = int(rng.integers(10))
    if kind < 3:
        path.write_bytes(damage_bytes(path.read_bytes(), rng))
        return
    with Image.open(path) as file:
        image = file.copy()
    if kind < 6:
        modes = ('1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'CMYK', 'I;16', 'F', 'I', 'YCbCr')
        image = image.convert('L') if image.mode not in ('L', 'RGB') else image
        mode = modes[int(rng.integers(len(modes)))]
        image = Image.fromarray(np.array(image.convert('L')).astype(np.uint16) * 257) if mode == 'I;16' else image.convert(mode)
    elif kind < 8:
        sizes = ((1, 1), (3, 2000), (2000, 3), (47, 64), (64, 64), (1, 500))
        image = image.resize(sizes[int(rng.integers(len(sizes)))])
    else:
        values = np.array(image)
        values[rng.random(values.shape) < 0.1] = int(rng.integers(256))
        image = Image.fromarray(values)
    formats = ('PNG', 'TIFF', 'JPEG', 'BMP', 'GIF', 'WEBP')
    chosen = formats[int(rng.integers(len(formats)))] if rng.random() < 0.3 else 'PNG'
    try:
        image.save(path, format=chosen)
    except (OSError, ValueError):  # a format that can't hold the mode
        image.convert('RGB').save(path, format='PNG')
