"""Read predictions in one of four formats, which their content tells apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...datasets.masks import EncodedMask, encode_segmentation
from ...datasets.reading import kind_of_json, read_json
from ...errors import DataError
from ..results import ROWS, read_rows
from .entries import COCO, OWN, PNGS, SEG_ZERO, Key, Prediction, Predictions
from .formats import COCO_RESULT, SEG_ZERO_ENTRY

ALLOWED = (
    'a json of COCO results (a list of image_id and segmentation), a folder of PNG masks, output_*.json of Seg-Zero or '
    'VisionReasoner (or their folder), or rows.jsonl of tools/test.py --out (or its folder); see docs/score_predictions.md'
)


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions; the format is recognised.

    Args:
        path: One of :data:`ALLOWED`.

    Raises:
        DataError: if it is missing, empty, none of these formats or two of them, or an entry is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f'{path} does not exist. Give {ALLOWED}.', file=path)
    files = _files(path) if path.is_dir() else [path]
    notes: Counter[str] = Counter()
    if files[0].suffix == '.png':
        kind, entries = PNGS, [_png(file) for file in files]
        others = sum(1 for file in path.iterdir() if file not in set(files))
        notes.update({'files that are no .png are not read': others} if others else {})
    elif files[0].suffix == '.jsonl':
        kind, entries = OWN, list(_own(path if path.is_file() else files[0]))
    elif files[0].suffix == '.json':
        lists = [(file, _list_in(file)) for file in files]
        kind = _kind(*lists[0])
        read = _seg_zero if kind == SEG_ZERO else _coco
        entries = [read(file, number, raw, notes) for file, content in lists for number, raw in enumerate(content)]
    else:
        raise DataError(f'{path} is no file of predictions. Give {ALLOWED}.', file=path)
    if not entries:
        raise DataError(f'{path} holds no prediction.', file=path)
    return Predictions(path, kind, entries, notes)


def _files(folder: Path) -> list[Path]:
    found = [sorted(folder.glob(pattern)) for pattern in ('output_*.json', ROWS, '*.png')]
    kinds = [files for files in found if files]
    if len(kinds) != 1:
        said = ' and '.join(files[0].name for files in kinds)
        what = f'holds predictions in several formats, such as {said}: give one file' if kinds else 'holds no predictions'
        raise DataError(f'{folder} {what}. Allowed: {ALLOWED}.', file=folder)
    return kinds[0]


def _list_in(file: Path) -> list[Any]:
    content = read_json(file)
    if not isinstance(content, list):
        hint = ' It looks like a ground truth.' if isinstance(content, dict) and 'annotations' in content else ''
        raise DataError(
            f'{file}: a list of predictions is needed, it holds {kind_of_json(content)}.{hint} Give {ALLOWED}.', file=file
        )
    return content


def _kind(file: Path, content: Sequence[Any]) -> str:
    if not content:
        return COCO
    first = content[0] if isinstance(content[0], dict) else {}
    if 'ann_id' in first:
        return SEG_ZERO
    if 'segmentation' in first:
        return COCO
    keys = ', '.join(map(repr, first)) or 'none'
    raise DataError(
        f'{file}: entry 0 has the keys {keys}; a prediction has segmentation, or image_id and ann_id. Give {ALLOWED}.', file=file
    )


def _coco(file: Path, number: int, raw: Any, notes: Counter[str]) -> Prediction:
    where = f'entry {number}'
    entry = COCO_RESULT.read(raw, file, where, notes)
    name = str(entry.get('sample_id', entry['image_id']))
    return Prediction(
        where=f'{file}: {where}',
        keys=(Key(name, entry.get('row'), entry.get('turn')),),
        masks=(_mask(entry['segmentation'], file, where),),
        answer=entry.get('answer'),
    )


def _mask(segmentation: Any, file: Path, where: str) -> EncodedMask:
    try:
        return {'segmentations': encode_segmentation(segmentation)}
    except ValueError as error:
        raise DataError(f'{file}: {where}: {error}.', file=file, record=where) from error


def _png(file: Path) -> Prediction:
    stem, _, row = file.stem.rpartition('_')
    keys = (Key(file.stem), Key(stem, int(row))) if stem and row.isascii() and row.isdigit() else (Key(file.stem),)
    return Prediction(where=str(file), keys=keys, masks=(file,))


def _seg_zero(file: Path, number: int, raw: Any, notes: Counter[str]) -> Prediction:
    where = f'entry {number}'
    entry = SEG_ZERO_ENTRY.read(raw, file, where, notes)
    image, row = str(entry['image_id']), entry.get('row')
    counts = None
    if 'segmentation' not in entry:
        if 'intersection' not in entry or 'union' not in entry:
            raise DataError(
                f'{file}: {where} holds neither a mask (segmentation) nor intersection and union. The programs for boxes and '
                'counting write such files; segmentation is needed.',
                file=file,
                record=where,
            )
        counts = entry['intersection'], entry['union']
        if counts[0] > counts[1]:
            raise DataError(f'{file}: {where}: intersection {counts[0]} is more than union {counts[1]}.', file=file, record=where)
    return Prediction(
        where=f'{file}: {where} (image_id {image}, ann_id {entry["ann_id"]})',
        keys=(Key(f'{image}/{entry["ann_id"]}'), Key(image, row)),
        masks=(_mask(entry['segmentation'], file, where),) if 'segmentation' in entry else (),
        text=entry.get('think', ''),
        counts=counts,
    )


def _own(file: Path) -> Iterator[Prediction]:
    for number, judged in enumerate(read_rows(file), 1):
        where = f'{file}: line {number}'
        if judged.masks is None:
            raise DataError(
                f'{where} holds no masks: only counts were kept. Evaluate again with masks.', file=file, record=number
            )
        yield Prediction(
            where=where,
            keys=(Key(judged.sample_id, judged.row, judged.turn),),
            masks=tuple(_mask(mask, file, f'line {number}') for mask in judged.masks),
            answer=judged.answer,
        )
