"""Our own simple schema: a json or jsonl of questions, so that your own data needs no Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..registry import DATASETS
from ..tokens import IMAGE_PLACEHOLDER, SEG_TOKEN
from . import prompts
from .asking import Thing, choose, turn_about
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .json_masks import check_answers, encode_masks
from .masks import EncodedMask, joined
from .reading import read_rows
from .record_formats import ROW


@DATASETS.register_module()
class JsonlSegDataset(BaseSegDataset):
    """A jsonl (one row per line) or json (a list of rows); rows of one image become one sample.

    A row is one of::

        {"image": "a.jpg", "phrase": "the red cup", "masks": [MASK]}             asked with the recipe's strings
        {"image": "a.jpg", "question": "What holds tea?", "masks": [MASK]}       a sentence, answered with the recipe's strings
        {"image": "a.jpg", "question": "...", "answer": "The cup [SEG] and the pot [SEG].", "masks": [MASK, MASK]}
        {"image": "a.jpg", "turns": [["question", "answer"], ...], "masks": [...]}   one mask per [SEG], in order
        {"question": "...", "answer": "..."}                                     text alone

    ``image`` is a path below the folder of the file. A mask is a polygon ``[[x, y], ...]``, an RLE, a bitmap of 0 and 1 as a list
    of rows, or the path of a png; without an answer, the union of a row's masks is its target; without masks, the target is
    empty. ``system`` beside ``turns`` replaces the template's system text. :mod:`lisa_mm.datasets.record_formats` has all fields.

    Testing: if the file has phrases, every phrase is a sample; otherwise every row with a mask is. A row without an answer gets
    the recipe's answer in the prompt; answers from the file are used as they are.

    Args:
        data_root: Folder that contains ``file``.
        file: Path of the json or jsonl below ``data_root``.
        phrases_per_image: Maximum number in training; in testing every sample asks one.
        questions_per_image: Maximum number in training.
        name_in_answer: In training, the probability that the answer to a phrase repeats it: ``It is the red cup [SEG].`` A model
            trained from scratch thus learns to carry the question's words to its ``[SEG]``.
        options: See :class:`BaseSegDataset`.
    """

    def __init__(
        self,
        data_root: str = '',
        *,
        file: str = 'train.jsonl',
        phrases_per_image: int = 3,
        questions_per_image: int = 1,
        name_in_answer: float = 0.0,
        **options: Unpack[SegDatasetOptions],
    ):
        self.file = file
        self.phrases_per_image = phrases_per_image
        self.questions_per_image = questions_per_image
        self.name_in_answer = name_in_answer
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return self.file

    def source_files(self) -> list[Path] | None:
        return [Path(self.data_root) / self.file]

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        check_file(path, 'the file', type(self).__name__)
        records: dict[str, dict[str, Any]] = {}
        for where, number, parse in read_rows(path, self.encoding):
            with self.guarded():
                row = self._row(parse(), path, where)
                name = row.pop('image')
                key = name or f'{self.file}:{number}'
                if key not in records:
                    if name:
                        check_file(path.parent / name, 'the image', f'{path}: {where}')
                    image = str(path.parent / name) if name else None
                    records[key] = {'sample_id': key, 'img_path': image, 'phrases': [], 'questions': []}
                records[key]['phrases' if 'phrase' in row else 'questions'].append(row)
        return self._one_each(list(records.values())) if self.test_mode else list(records.values())

    @staticmethod
    def _one_each(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """For testing: one row per sample."""
        kind = 'phrases' if any(record['phrases'] for record in found) else 'questions'
        empty: dict[str, Any] = {'phrases': [], 'questions': []}
        return [
            {**record, 'sample_id': f'{record["sample_id"]}#{i}', **empty, kind: [row]}
            for record in found
            for i, row in enumerate(record[kind])
            if row['masks']
        ]

    def _row(self, raw: Any, path: Path, where: str) -> dict[str, Any]:
        """A checked row: image, encoded masks, and phrase or turns (an answer of None is filled in later)."""
        given = ROW.read(raw, path, where, self.notes)
        masks = encode_masks(given.get('masks', []), path.parent, path, where)
        image = given.get('image')
        if 'phrase' in given:
            return {'phrase': given['phrase'], 'masks': [joined(masks)], 'image': image}
        turns = given.get('turns') or [[given.get('question'), given.get('answer')]]
        answers = [answer for _, answer in turns]
        if answers == [None]:
            return {'turns': turns, 'masks': [joined(masks)], 'image': image}
        check_answers(turns, len(masks), self.mask_tokens, path, where)
        system = {'system': given['system']} if 'system' in given else {}
        return {**system, 'turns': turns, 'masks': masks, 'image': image}

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        conversations, masks = [], []
        systems: dict[int, str | None] = {}
        for row in choose(record['phrases'], self.phrases_per_image, rng):
            if self.test_mode:
                turn = (prompts.validation_question(row['phrase'], False), prompts.VALIDATION_ANSWER)
            else:
                turn = self._phrase(row['phrase'], row['masks'][0], rng)
            conversations.append([turn])
            masks += row['masks'] if self.test_mode else self.wording.kept(row['masks'])
        for row in choose(record['questions'], self.questions_per_image, rng):
            conversations.append(self._turns(row, record['img_path'] is not None, rng))
            masks += row['masks'] if self.test_mode or row['turns'][0][1] is not None else self.wording.kept(row['masks'])
            systems[len(conversations) - 1] = row.get('system')
        told = [systems.get(number) for number in range(len(conversations))] if any(systems.values()) else []
        return Asked(conversations, masks, told)

    def _phrase(self, phrase: str, mask: EncodedMask, rng: np.random.Generator) -> tuple[str, str]:
        question = self.wording.bare_question(phrase, rng) or str(rng.choice(prompts.SHORT_QUESTIONS)).format(name=phrase)
        answer = self.wording.rejecting_answer(mask, rng) or str(rng.choice(prompts.ANSWERS))
        if self.name_in_answer and rng.random() < self.name_in_answer:
            token = self.rejection if self.rejection and self.wording.rejects(mask) else SEG_TOKEN
            answer = answer.replace(token, f'{phrase} {token}')
        return question, answer

    def _turns(self, row: dict[str, Any], about_image: bool, rng: np.random.Generator) -> list[tuple[str, str]]:
        turns = row['turns']
        if turns[0][1] is None:
            if self.test_mode:
                return [(prompts.validation_question(turns[0][0], True), prompts.VALIDATION_ANSWER)]
            return [turn_about(Thing(turns[0][0], row['masks'][0], is_sentence=True), rng, self.wording)]
        placed = any(IMAGE_PLACEHOLDER in question for question, _ in turns)
        start = f'{IMAGE_PLACEHOLDER}\n' if about_image and not placed else ''
        return [((start if i == 0 else '') + question, answer) for i, (question, answer) in enumerate(turns)]

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {'question': row['turns'][0][0], 'masks': row['masks']} if 'turns' in row and row['turns'][0][1] is None else row
            for row in [*record['phrases'], *record['questions']]
        ]
