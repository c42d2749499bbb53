"""Turn exports of annotation tools into our simple schema: COCO (also Roboflow and CVAT), VIA, labelme, Sa2VA."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typing_extensions import NotRequired, TypedDict

from ..datasets.coco import CocoFile
from ..datasets.formats import Format, Harmless, Number, Plain, Reads, Text, shortly, strict
from ..datasets.images import image_size
from ..datasets.labelme import LabelmeShape, Shapes, encode_shapes
from ..datasets.masks import decode_mask
from ..datasets.reading import read_json
from ..datasets.record_formats import ROW, SA2VA
from ..datasets.run_lengths import encode_mask
from ..errors import DataError

FORMATS = (
    'a COCO json (images, annotations, categories), a VIA json (filename and regions), a folder of labelme jsons (shapes), or a '
    'Sa2VA json (a list of image, mask, text)'
)


@strict
class ViaShape(TypedDict):
    """A region's ``shape_attributes`` in VIA."""

    name: Annotated[Plain, Reads('polygon, rect, circle or ellipse; others are refused')]
    all_points_x: NotRequired[Annotated[list[Number], Reads('polygon')]]
    all_points_y: NotRequired[Annotated[list[Number], Reads('polygon')]]
    x: NotRequired[Annotated[Number, Reads('rect')]]
    y: NotRequired[Annotated[Number, Reads('rect')]]
    width: NotRequired[Annotated[Number, Reads('rect')]]
    height: NotRequired[Annotated[Number, Reads('rect')]]
    cx: NotRequired[Annotated[Number, Reads('circle, ellipse')]]
    cy: NotRequired[Annotated[Number, Reads('circle, ellipse')]]
    r: NotRequired[Annotated[Number, Reads('circle')]]
    rx: NotRequired[Annotated[Number, Reads('ellipse')]]
    ry: NotRequired[Annotated[Number, Reads('ellipse')]]
    theta: NotRequired[Annotated[Number, Reads('ellipse: angle in radians')]]


@strict
class ViaRegion(TypedDict):
    """A region in VIA."""

    shape_attributes: Annotated[ViaShape, Reads('its shape')]
    region_attributes: Annotated[dict[str, Any], Reads('its phrase')]


@strict
class ViaImage(TypedDict):
    """An image in VIA."""

    filename: Annotated[Text, Reads('path below the folder of images')]
    regions: Annotated[list[ViaRegion], Reads('its objects')]
    size: NotRequired[Annotated[Any, Harmless('bytes of the file')]]
    file_attributes: NotRequired[Annotated[Any, Harmless('remarks')]]


@strict
class LabelmeFile(TypedDict):
    """A labelme json without questions."""

    shapes: Annotated[Shapes, Reads('objects; their labels are the phrases')]
    imagePath: Annotated[Text, Reads('name of the image beside the json')]
    imageData: NotRequired[Annotated[Any, Harmless('the file is read')]]
    imageHeight: NotRequired[Annotated[Any, Harmless('the image has it')]]
    imageWidth: NotRequired[Annotated[Any, Harmless('the image has it')]]
    version: NotRequired[Annotated[Any, Harmless('labelme')]]
    flags: NotRequired[Annotated[Any, Harmless('labelme')]]


VIA: Format[ViaImage] = Format(ViaImage, 'VIA image')
LABELME: Format[LabelmeFile] = Format(LabelmeFile, 'labelme json')

Row = tuple[str, dict[str, Any]]  # its place in the source; the row, with the path of the image


def import_annotations(
    source: Path, out: Path, *, images: Path | None = None, attribute: str | None = None, encoding: str | None = None
) -> tuple[int, Counter[str]]:
    """Write an export as a jsonl for :class:`lisa_mm.datasets.JsonlSegDataset`; images stay where they are.

    All objects of one image with the same phrase are one row: the phrase asks for their union.

    Args:
        source: The json, or labelme's folder.
        out: The jsonl to write; its image paths are relative to its folder.
        images: Folder that the export's image paths begin at; by default the source's, or ``images`` in it.
        attribute: VIA: the region attribute that holds the phrase; by default the only one.
        encoding: See :func:`lisa_mm.datasets.encodings.read_text`.

    Returns:
        The number of rows, and notes with their counts.

    Raises:
        DataError: for a file that is none of these, with all faults of its records, or for an existing ``out``.
    """
    if out.exists():
        raise DataError(f'{out} is there already. Give another name, or delete it.', file=out)
    notes: Counter[str] = Counter()
    folder = images or (source if source.is_dir() else source.parent)
    if images is None and (folder / 'images').is_dir() and not source.is_dir():
        notes[f'images are looked for in {folder} and in {folder / "images"}'] += 1
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    faults: list[str] = []
    for where, row in _rows(source, attribute, encoding, notes, faults):
        try:
            path = _find(folder, row['image'], where)
            written = {'image': os.path.relpath(path, out.parent), 'phrase': row['phrase'], 'masks': row['masks'](path)}
            ROW.read(written, source, where)
        except (DataError, OSError) as error:
            faults.append(str(error))
            continue
        known = rows.setdefault((written['image'], written['phrase']), {**written, 'masks': []})
        known['masks'] += written['masks']
    if faults:
        raise DataError('\n'.join(dict.fromkeys(faults)), file=source)
    if not rows:
        raise DataError(f'{source} holds no object: nothing to write.', file=source)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text('\n'.join(json.dumps(row, ensure_ascii=False) for row in rows.values()) + '\n', encoding='utf-8')
    return len(rows), notes


def _rows(source: Path, attribute: str | None, encoding: str | None, notes: Counter[str], faults: list[str]) -> Iterator[Row]:
    if source.is_dir():
        yield from _labelme(source, encoding, notes, faults)
        return
    content = read_json(source, encoding)
    if isinstance(content, dict) and {'images', 'annotations'} <= set(content):
        yield from _coco(source, encoding, notes, faults)
    elif isinstance(content, dict) and _via_images(content):
        yield from _via(source, _via_images(content), attribute, notes, faults)
    elif isinstance(content, list) and content and isinstance(content[0], dict) and {'mask', 'text'} <= set(content[0]):
        for number, entry in enumerate(content):
            try:
                row = SA2VA.read(entry, source, f'entry {number}', notes)
            except DataError as error:
                faults.append(str(error))
                continue
            for mask, text in zip(row['mask'], row['text'], strict=True):
                yield f'entry {number}', {'image': row['image'], 'phrase': text, 'masks': _given(mask)}
    else:
        keys = sorted(content)[:8] if isinstance(content, dict) else shortly(content)
        raise DataError(f'{source} is no export that is known; it holds {keys}. Known: {FORMATS}.', file=source)


def _given(mask: Any) -> Any:
    return lambda path: [mask]


def _find(folder: Path, name: str, where: str) -> Path:
    for path in (folder / name, folder / 'images' / name):
        if path.is_file():
            return path
    raise DataError(
        f'{where}: its image {folder / name} is missing. Put it there, or name the folder of images.', file=folder / name
    )


def _coco(source: Path, encoding: str | None, notes: Counter[str], faults: list[str]) -> Iterator[Row]:
    content = CocoFile(source, encoding, notes)
    faults += map(str, content.collisions)
    for number in content.annotations:
        where = f'annotation {number}'
        try:
            annotation = content.annotation(number)
            image = content.image(annotation['image_id'], where, source)
            category = content.category(annotation.get('category_id'), where)
        except DataError as error:
            faults.append(str(error))
            continue
        yield where, {'image': image['file_name'], 'phrase': category['name'], 'masks': _given(annotation['segmentation'])}


def _via_images(content: dict[str, Any]) -> list[Any]:
    """The images of a VIA json: an export of annotations, or a whole project."""
    inner = content.get('_via_img_metadata', content)
    images = list(inner.values()) if isinstance(inner, dict) else []
    return images if images and all(isinstance(image, dict) and 'regions' in image for image in images) else []


def _via(source: Path, images: list[Any], attribute: str | None, notes: Counter[str], faults: list[str]) -> Iterator[Row]:
    for entry in images:
        where = f'image {entry.get("filename")!r}'
        try:
            image = VIA.read(entry, source, where, notes)
        except DataError as error:
            faults.append(str(error))
            continue
        for number, region in enumerate(image['regions']):
            place = f'{where}, regions[{number}]'
            try:
                phrase = _via_phrase(region['region_attributes'], attribute, source, place)
                mask = _via_mask(region['shape_attributes'], source, place)
            except DataError as error:
                faults.append(str(error))
                continue
            yield place, {'image': image['filename'], 'phrase': phrase, 'masks': mask}


def _via_phrase(attributes: dict[str, Any], attribute: str | None, source: Path, place: str) -> str:
    names = [attribute] if attribute else list(attributes)
    if len(names) != 1:
        raise DataError(
            f'{source}: {place} has the attributes {names}: name the one that holds the phrase (--attribute).', file=source
        )
    phrase = attributes.get(names[0])
    if not isinstance(phrase, str) or not phrase.strip():
        raise DataError(f'{source}: {place}: attribute {names[0]!r} is {shortly(phrase)}; a text is needed.', file=source)
    return phrase


def _via_mask(shape: ViaShape, source: Path, place: str) -> Any:
    """A function of the image's path that gives the masks of a region."""
    name: str = shape['name']
    needed = {
        'polygon': ('all_points_x', 'all_points_y'),
        'rect': ('x', 'y', 'width', 'height'),
        'circle': ('cx', 'cy', 'r'),
        'ellipse': ('cx', 'cy', 'rx', 'ry'),
    }
    missing = [key for key in needed.get(name, ()) if key not in shape]
    if name not in needed or missing:
        what = (
            f'lacks {", ".join(missing)}' if missing else f'is a {name!r}; allowed: {", ".join(needed)}. Draw it as one of them'
        )
        raise DataError(f'{source}: {place} {what}.', file=source)
    values: dict[str, Any] = dict(shape)
    if name == 'polygon':
        if len(values['all_points_x']) != len(values['all_points_y']):
            raise DataError(f'{source}: {place} has different numbers of x and y.', file=source)
        return _given([[x, y] for x, y in zip(values['all_points_x'], values['all_points_y'], strict=True)])
    if name == 'rect':
        left, top, right, bottom = values['x'], values['y'], values['x'] + values['width'], values['y'] + values['height']
        return _given([[left, top], [right, top], [right, bottom], [left, bottom]])
    half = (values['r'],) * 2 if name == 'circle' else (values['rx'], values['ry'])
    return lambda path: [_ellipse(path, (values['cx'], values['cy']), half, values.get('theta', 0.0))]


def _ellipse(path: Path, center: tuple[float, float], half: tuple[float, float], angle: float) -> Any:
    """A run-length mask of the pixels whose centres lie in an ellipse."""
    height, width = image_size(path)
    rows, columns = np.ogrid[:height, :width]
    x, y = columns + 0.5 - center[0], rows + 0.5 - center[1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if min(half) <= 0:
        raise DataError(f'{path}: an ellipse with the half axes {half}; they must be greater than 0.')
    return encode_mask((along / half[0]) ** 2 + (across / half[1]) ** 2 <= 1)


def _labelme(source: Path, encoding: str | None, notes: Counter[str], faults: list[str]) -> Iterator[Row]:
    for path in sorted(source.rglob('*.json')):
        try:
            content = LABELME.read(read_json(path, encoding), path, notes=notes)
        except DataError as error:
            faults.append(str(error))
            continue
        named = content['imagePath'].replace('\\', '/')
        beside = path.parent / named
        # the path may be one of the annotator's machine
        name = str(beside.absolute()) if beside.is_file() else named.rsplit('/', 1)[-1]
        for number, shape in enumerate(content['shapes']):
            yield f'{path.name}, shapes[{number}]', {'image': name, 'phrase': shape['label'], 'masks': _drawn(shape)}


def _drawn(shape: LabelmeShape) -> Any:
    def draw(path: Path) -> list[Any]:
        # every label is a phrase here: "ignore" has no meaning outside ReasonSeg
        encoded = encode_shapes([{**shape, 'label': 'target'}])
        return [encode_mask(decode_mask({'shapes': encoded}, *image_size(path), str(path)) == 1)]

    return draw
