"""ReasonSeg as parquet, the layout of Seg-Zero and VisionReasoner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from . import prompts
from .asking import Thing, ask_about, rows_about
from .base import Asked, BaseSegDataset, SegDatasetOptions
from .parquet import IMAGE, image_address, open_parquet, read_batches
from .parquet_formats import REASON_SEG_ROW
from .run_lengths import RLE, encode_mask

SHARD = re.compile(r'(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?\.parquet')
NEEDED = ('image', 'mask', 'text', 'image_id', 'ann_id', 'img_height', 'img_width')


@DATASETS.register_module()
class ReasonSegParquetDataset(BaseSegDataset):
    """Parquet files with a question, an image and a mask in each row; they are read where they lie.

    The columns are those of Seg-Zero's ``ReasonSeg_val`` and ``ReasonSeg_test`` (VisionReasoner publishes refCOCO in them too).
    They differ from ReasonSeg's folders: one text a row, and regions that ReasonSeg ignores belong to the target. Whether a text
    is asked as a sentence or as a phrase follows from its words (:func:`lisa_mm.datasets.prompts.is_sentence`), unless there is a
    column ``is_sentence``; only then does a row have a fact: ``{'kind': 'short' or 'long'}``.

    Reading one image reads the images of its row group, of which one stays in memory: reading in order is fast, training in
    random order is slower than from folders. Needs pyarrow: ``pip install 'lisa_mm[parquet]'``.

    Args:
        data_root: The folder that ``file`` is below.
        file: A parquet file, or a folder with all files of one split in it or below it.
        options: See :class:`BaseSegDataset`.
    """

    def __init__(self, data_root: str = '', *, file: str = 'reason_seg/ReasonSeg_test', **options: Unpack[SegDatasetOptions]):
        self.file = file
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'ReasonSeg parquet {self.file}'

    def _files(self) -> list[Path]:
        path = Path(self.data_root) / self.file
        return sorted(path.rglob('*.parquet')) if path.is_dir() else [path]

    def source_files(self) -> list[Path] | None:
        return self._files()

    def load_data_list(self) -> list[dict[str, Any]]:
        files = self._files()
        check_shards(Path(self.data_root) / self.file, files)
        return [record for file in files for record in self._records(file)]

    def _records(self, file: Path) -> Iterator[dict[str, Any]]:
        with open_parquet(file) as opened:
            schema = opened.schema_arrow
        check_columns(schema, file)
        named = re.search(r'\bpath: ', str(schema.field(IMAGE).type)) is not None
        known = [name for name in schema.names if name in REASON_SEG_ROW.known - {IMAGE, 'bbox'}]
        rest = {name: None for name in schema.names if name not in known}
        for first, batch in read_batches(file, [*known, *([f'{IMAGE}.path'] if named else [])]):
            texts = batch.select([name for name in known if name != 'mask']).to_pylist()
            for i, text in enumerate(texts):
                with self.guarded():
                    number = first + i
                    name = batch.column(IMAGE)[i].as_py() if named else None
                    row = {**rest, **text, 'mask': batch.column('mask')[i]}
                    yield self._record(file, number, row, (name or {}).get('path'))

    def _record(self, file: Path, number: int, row: dict[str, Any], name: str | None) -> dict[str, Any]:
        where = f'row {number}'
        read = REASON_SEG_ROW.read(row, file, where, self.notes)
        try:
            mask = encode_rows(read['mask'], read['img_height'], read['img_width'])
        except ValueError as error:
            raise DataError(f'{file}: {where}: mask: {error}. Write the row again.', file=file, record=where) from error
        image = name or str(read['image_id'])
        sentence = {'is_sentence': read['is_sentence']} if 'is_sentence' in read else {}
        return {
            'sample_id': f'{file.name}#{number}/{read["image_id"]}/{read["ann_id"]}',
            'img_path': image_address(file, number, image),
            'text': read['text'],
            'rle': mask,
            **sentence,
        }

    def _thing(self, record: dict[str, Any]) -> Thing:
        text, told = record['text'], record.get('is_sentence')
        facts = {} if told is None else {'kind': 'long' if told else 'short'}
        return Thing(text, {'rle': record['rle']}, prompts.is_sentence(text) if told is None else told, facts)

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return ask_about([self._thing(record)], 1, rng, test_mode=self.test_mode, wording=self.wording)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return rows_about([self._thing(record)])


def check_shards(path: Path, files: list[Path]) -> None:
    """Refuse files of several splits, and a split of which a file is missing.

    Raises:
        DataError: which names them.
    """
    if not files:
        raise DataError(f'{path} holds no parquet file. Look at data_root and file.', file=path / '*.parquet')
    found = [match for file in files if (match := SHARD.fullmatch(file.name))]
    splits = sorted({match['split'] for match in found} | {file.stem for file in files if not SHARD.fullmatch(file.name)})
    if len(splits) > 1:
        raise DataError(
            f'{path} holds parquet files of several splits: {", ".join(splits)}. Put each into a folder of its own, or set file '
            'to one of the files.',
            file=path,
        )
    numbers, count = {int(match['number']) for match in found}, max((int(match['count']) for match in found), default=0)
    missing = sorted(set(range(count)) - numbers)
    # one file alone may be meant
    if missing and path.is_dir():
        raise DataError(
            f'{path} lacks {len(missing)} of the {count} files of {splits[0]!r}, first number {missing[0]:05}. Get them, or set '
            'file to one of the files.',
            file=files[0].with_name(f'{splits[0]}-{missing[0]:05}-of-{count:05}.parquet'),
        )


def check_columns(schema: Any, file: Path) -> None:
    """Refuse a file whose columns are missing or of another type.

    Raises:
        DataError: which names them.
    """
    missing = [name for name in NEEDED if name not in schema.names]
    if missing:
        raise DataError(f'{file} lacks the columns {", ".join(missing)}; it has {", ".join(schema.names) or "none"}.', file=file)
    image, mask = str(schema.field(IMAGE).type), str(schema.field('mask').type)
    if not re.fullmatch(r'(large_)?binary|struct<.*\bbytes: (large_)?binary.*>', image):
        raise DataError(f'{file}: the column image is of the type {image}; bytes, or bytes and path, are needed.', file=file)
    if not re.fullmatch(r'(large_)?list<\w+: (large_)?list<\w+: bool.*', mask):
        raise DataError(f'{file}: the column mask is of the type {mask}; lists of lists of bool are needed.', file=file)


def encode_rows(rows: Any, height: int, width: int) -> RLE:
    """A mask of pyarrow, rows of bool, as run lengths.

    Raises:
        ValueError: if it has another size, or gaps.
    """
    lines = rows.values
    if lines is None or lines.null_count:
        raise ValueError('it is null, or has a row that is')
    lengths = set(np.diff(lines.offsets.to_numpy()).tolist())
    if len(lines) != height or lengths != {width}:
        raise ValueError(
            f'it has {len(lines)} rows of {" or ".join(map(str, sorted(lengths))) or 0} values; img_height x img_width is '
            f'{height} x {width}'
        )
    values = lines.flatten()
    if values.null_count:
        raise ValueError(f'{values.null_count} of its values are null')
    return encode_mask(values.to_numpy(zero_copy_only=False).reshape(height, width))
