"""Conversations about images in LLaVA's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from ..tokens import IMAGE_PLACEHOLDER
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .json_masks import check_answers, encode_masks
from .reading import read_rows
from .record_formats import ASKS, LLAVA, SYSTEM
from .wording import file_answers_faults


@DATASETS.register_module()
class VQADataset(BaseSegDataset):
    """LLaVA-Instruct-150k, or any json or jsonl of ``{"image", "conversations": [{"from": "human" | "gpt", "value"}]}`` rows.

    Each row is one sample with one conversation. ``<image>`` moves to the start of its question. A row without ``image`` is text
    alone. A first turn from ``system`` replaces the template's system text. A row may have ``masks`` (polygon, RLE, bitmap,
    path of a png), one per ``[SEG]`` in its answers.

    Args:
        data_root: Folder that contains ``file`` and ``image_folder``.
        file: Path of the json below ``data_root``.
        image_folder: Image folder below ``data_root``.
        options: See :class:`BaseSegDataset`.
    """

    def __init__(
        self,
        data_root: str = '',
        *,
        file: str = 'llava_dataset/llava_instruct_150k.json',
        image_folder: str = 'coco/train2017',
        **options: Unpack[SegDatasetOptions],
    ):
        self.file = file
        self.image_folder = image_folder
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'vqa {Path(self.file).name}'

    def source_files(self) -> list[Path] | None:
        return [Path(self.data_root) / self.file, Path(self.data_root) / self.image_folder]

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        return super().argument_faults(arguments) + file_answers_faults(cls.__name__, arguments, ('bare', 'rejection'))

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        records = []
        for where, number, parse in read_rows(path, self.encoding):
            with self.guarded():
                records.append(self._record(parse(), where, number, path))
        return records

    def _record(self, raw: Any, where: str, number: int, path: Path) -> dict[str, Any]:
        where += f' (id {raw["id"]})' if isinstance(raw, dict) and 'id' in raw else ''
        row = LLAVA.read(raw, path, where, self.notes)
        given: Any = row.get('image')
        name: str | None = (given[0] if given else None) if isinstance(given, list) else given
        image = Path(self.data_root) / self.image_folder / name if name else None
        if image is not None:
            check_file(image, 'the image', f'{path}: {where}')
        system, turns = read_turns(row['conversations'], path, where)
        marks = sum(question.count(IMAGE_PLACEHOLDER) for question, _ in turns)
        if marks > 1:
            raise DataError(f'{path}: {where} has {marks} {IMAGE_PLACEHOLDER}, one is allowed.', file=path, record=where)
        if marks and image is None:
            raise DataError(f'{path}: {where} says {IMAGE_PLACEHOLDER} but names no image.', file=path, record=where)
        if image is not None and not marks:  # an image without a mark comes first
            turns[0] = (f'{IMAGE_PLACEHOLDER}\n{turns[0][0]}', turns[0][1])
        masks = encode_masks(row.get('masks', []), path.parent, path, where)
        if masks and image is None:
            raise DataError(f'{path}: {where} has masks but names no image.', file=path, record=where)
        check_answers(turns, len(masks), self.mask_tokens, path, where)
        return {
            'sample_id': f'{path.name}:{number}',
            'img_path': None if image is None else str(image),
            'system': system,
            'turns': turns,
            'masks': masks,
        }

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        systems = [record['system']] if record['system'] is not None else []
        return Asked([[(question, answer) for question, answer in record['turns']]], record['masks'], systems)


def read_turns(said: list[Any], file: Path, where: str) -> tuple[str | None, list[tuple[str, str]]]:
    """LLaVA's list of ``from`` and ``value`` -> system text or None, and (question, answer) pairs.

    An answer before the first question is left out.

    Raises:
        DataError: if the speakers don't alternate, a text is empty, or an answer holds ``<image>``.
    """
    system = None
    if said[0]['from'] == SYSTEM:
        system, said = said[0]['value'].strip() or None, said[1:]
    if any(entry['from'] == SYSTEM for entry in said):
        raise DataError(f'{file}: {where}: a system text may only come first. Put it there.', file=file, record=where)
    if system and IMAGE_PLACEHOLDER in system:
        raise DataError(
            f'{file}: {where}: the system text holds {IMAGE_PLACEHOLDER}; only questions may.', file=file, record=where
        )
    spoken = [(entry['from'] in ASKS, entry['value'].strip()) for entry in said]
    if spoken and not spoken[0][0]:
        spoken = spoken[1:]
    if not spoken or len(spoken) % 2 or any(asks != (i % 2 == 0) for i, (asks, _) in enumerate(spoken)):
        speakers = ['human' if asks else 'gpt' for asks, _ in spoken]
        raise DataError(
            f'{file}: {where}: human and gpt must alternate and gpt must end it; found {speakers}.', file=file, record=where
        )
    turns = []
    for (_, question), (_, answer) in zip(spoken[::2], spoken[1::2], strict=True):
        if IMAGE_PLACEHOLDER in answer:
            raise DataError(f'{file}: {where}: an answer holds {IMAGE_PLACEHOLDER}; only questions may.', file=file, record=where)
        if IMAGE_PLACEHOLDER in question:
            marks = question.count(IMAGE_PLACEHOLDER)
            rest = question.replace(IMAGE_PLACEHOLDER, '').strip()
            question = f'{IMAGE_PLACEHOLDER}\n' * marks + rest
        else:
            rest = question
        if not rest or not answer:
            raise DataError(
                f'{file}: {where}: {"a question" if not rest else "an answer"} is empty. Write it or delete the row.',
                file=file,
                record=where,
            )
        turns.append((question.strip(), answer))
    return system, turns
