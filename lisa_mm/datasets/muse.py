"""MUSE: questions whose answers name several targets (PixelLM, CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from ..tokens import IMAGE_PLACEHOLDER, SEG_TOKEN
from . import prompts
from .asking import choose
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .json_masks import check_answers
from .masks import EncodedMask, encode_segmentation
from .muse_formats import MUSE, MuseAnnotation, MuseRow
from .reading import read_rows
from .wording import file_answers_faults

SPLITS = ('train', 'val', 'test_less', 'test_many')
FOLDERS = ('train2014', 'train2017', 'val2017')
PLACE = '{seg}'  # of a mask token in MUSE's answers


@DATASETS.register_module()
class MuseDataset(BaseSegDataset):
    """``data_root/muse/muse_<split>.json`` with images below ``refer_seg/images/mscoco/images``, as PixelLM has them.

    The image folder holds ``train2014`` (images by ``file_name``), ``train2017`` and ``val2017`` (images by ``coco_url``).
    A target is an annotation, whose polygons are united, or a list of annotations, which are united too. ``{seg}`` in an
    answer is the place of a target's ``[SEG]``. An answer that is null names the targets: ``the cup [SEG] and the pot [SEG].``

    A question is left out, with its count, if its answer has another number of ``{seg}`` than of targets (known of the
    published files), or no target.

    Training: up to ``questions_per_image`` questions, each in its own conversation. Testing: every question is a row, asked with
    the recipe's string for sentences. The answer of the file with its ``[SEG]`` is in the prompt (``answers='given'``), or the
    model says one (``'generated'``, as PixelLM's program does). Facts of a row: ``phrases``, the name of each target or null.

    Args:
        data_root: Folder that contains the file and the images.
        split: 'train', 'val', 'test_less' (at most 3 targets) or 'test_many'.
        file: Path of the json below ``data_root``; by default ``muse/muse_<split>.json``.
        image_folder: Folder below ``data_root`` that contains ``train2014``, ``train2017`` and ``val2017``.
        questions_per_image: Maximum number in training.
        options: See :class:`BaseSegDataset`. ``rejection`` has no use: the answers are the file's.
    """

    CHOICES = {'split': SPLITS}

    def __init__(
        self,
        data_root: str = '',
        *,
        split: str = 'train',
        file: str | None = None,
        image_folder: str = 'refer_seg/images/mscoco/images',
        questions_per_image: int = 3,
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(split=split)
        self.split = split
        self.file = file or f'muse/muse_{split}.json'
        self.image_folder = image_folder
        self.questions_per_image = questions_per_image
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'MUSE {self.split}'

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        return super().argument_faults(arguments) + file_answers_faults(cls.__name__, arguments, ('rejection',))

    def source_files(self) -> list[Path] | None:
        folder = Path(self.data_root) / self.image_folder
        return [Path(self.data_root) / self.file, *(folder / name for name in FOLDERS)]

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        records = []
        for where, number, parse in read_rows(path, self.encoding):
            with self.guarded():
                record = self._record(parse(), path, where, number)
                if record['asks']:
                    records.append(record)
        return records

    def _record(self, raw: Any, path: Path, where: str, number: int) -> dict[str, Any]:
        row = MUSE.read(raw, path, where, self.notes)
        image = Path(self.data_root) / self.image_folder / image_of(row, path, where)
        check_file(image, 'the image', f'{path}: {where}')
        size = (row['height'], row['width'])
        texts = row.get('text_answers') or [None] * len(row['questions'])
        asks = []
        for place, (question, targets, text) in enumerate(zip(row['questions'], row['answers'], texts, strict=True)):
            ask = self._ask(question, targets, text, size, path, f'{where}, questions[{place}]')
            if ask is not None:
                asks.append(ask)
        if not row['questions']:
            self.leave_out('images without a question')
        return {'sample_id': f'{path.name}:{number}', 'img_path': str(image), 'asks': asks}

    def _ask(
        self,
        question: str,
        targets: Sequence[MuseAnnotation | list[MuseAnnotation]],
        text: str | None,
        size: tuple[int, int],
        path: Path,
        where: str,
    ) -> dict[str, Any] | None:
        """A question with its answer, phrases and masks; None if it is left out."""
        if not targets:
            self.leave_out('questions without a target')
            return None
        if text is not None and text.count(PLACE) != len(targets):
            self.leave_out('questions whose answer has another number of {seg} than of targets')
            return None
        try:
            masks = [encode_target(target, size) for target in targets]
        except ValueError as error:
            raise DataError(f'{path}: {where}: {error}. Mend or delete it.', file=path, record=where) from error
        phrases = [name_of(target) for target in targets]
        answer = naming_answer(phrases) if text is None else text.replace(PLACE, SEG_TOKEN)
        check_answers([(question, answer)], len(masks), self.mask_tokens, path, where)
        if IMAGE_PLACEHOLDER in question + answer:
            raise DataError(
                f'{path}: {where}: it holds {IMAGE_PLACEHOLDER}, which is put before the question. Take it out.',
                file=path,
                record=where,
            )
        return {'question': question.strip(), 'answer': answer.strip(), 'phrases': phrases, 'masks': masks}

    def objects(self, record: dict[str, Any]) -> list[EncodedMask]:
        return [mask for ask in record['asks'] for mask in ask['masks']]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        asks = record['asks'] if self.test_mode else choose(record['asks'], self.questions_per_image, rng)
        conversations = [[(self._question(ask['question'], rng), ask['answer'])] for ask in asks]
        facts = [{'phrases': ask['phrases']} for ask in asks] if self.test_mode else []
        return Asked(conversations, [mask for ask in asks for mask in ask['masks']], facts=facts)

    def _question(self, text: str, rng: np.random.Generator) -> str:
        if self.test_mode:
            return prompts.validation_question(text, True)
        return self.wording.bare_question(text, rng) or str(rng.choice(prompts.LONG_QUESTIONS)).format(sentence=text)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return [{'turns': [[ask['question'], ask['answer']]], 'masks': ask['masks']} for ask in record['asks']]


def image_of(row: MuseRow, path: Path, where: str) -> str:
    """Folder and name of a row's image, ``train2017/000000000009.jpg``.

    Raises:
        DataError: for a ``coco_url`` of another folder.
    """
    name = row.get('file_name')
    if name:
        return f'{FOLDERS[0]}/{name}'
    url = row.get('coco_url') or ''
    folder, _, name = '/'.join(url.split('/')[-2:]).partition('/')
    if folder not in FOLDERS[1:] or not name:
        raise DataError(
            f'{path}: {where}: coco_url is {url!r}; its last two steps must be {" or ".join(FOLDERS[1:])} and the image.',
            file=path,
            record=where,
        )
    return f'{folder}/{name}'


def encode_target(target: MuseAnnotation | list[MuseAnnotation], size: tuple[int, int]) -> EncodedMask:
    """The union of a target's annotations.

    Raises:
        ValueError: for an RLE of another size.
    """
    annotations = target if isinstance(target, list) else [target]
    parts = [part for annotation in annotations for part in encode_segmentation(annotation['segmentation'], size)]
    return {'segmentations': parts, 'size': list(size)}


def name_of(target: MuseAnnotation | list[MuseAnnotation]) -> str | None:
    """The phrase of a target: of its first annotation that has one."""
    for annotation in target if isinstance(target, list) else [target]:
        name = annotation.get('rephrased_name') or annotation.get('category_name')
        if name:
            return name.strip()
    return None


def naming_answer(phrases: Sequence[str | None]) -> str:
    """An answer for a question that has none.

    >>> naming_answer(['the cup', None, 'a pot'])
    'the cup [SEG], [SEG] and a pot [SEG].'
    """
    *first, last = [f'{phrase} {SEG_TOKEN}' if phrase else SEG_TOKEN for phrase in phrases]
    return f'{", ".join(first)} and {last}.' if first else f'{last}.'
