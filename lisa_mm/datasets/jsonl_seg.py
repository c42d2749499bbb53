"""Our own simple schema: one json line a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..registry import DATASETS
from . import prompts
from .base import Asked, BaseSegDataset, check_file
from .reason_seg import choose


@DATASETS.register_module()
class JsonlSegDataset(BaseSegDataset):
    """A jsonl of ``{"image", "phrase", "masks"}`` (referring) and ``{"image", "question", "answer", "masks"}`` lines.

    Lines of one image become one sample. ``image`` is a path below the folder of the file; ``masks`` holds COCO RLEs, one
    for each ``[SEG]`` of the answer (a phrase is asked and answered with the recipe's strings).

    Args:
        data_root: Holds ``file``.
        file: Path of the jsonl below ``data_root``.
        phrases_per_image: At most, in training; in testing every sample asks one phrase.
        questions_per_image: At most, in training.
        name_in_answer: In training, the probability that the answer to a phrase repeats it: ``It is the red cup [SEG].`` A model
            from scratch learns so to bring the words of a question to its ``[SEG]``.
        pipeline, seed, test_mode, indices: See :class:`BaseSegDataset`.
    """

    def __init__(
        self,
        data_root: str = '',
        *,
        file: str = 'train.jsonl',
        phrases_per_image: int = 3,
        questions_per_image: int = 1,
        name_in_answer: float = 0.0,
        pipeline: list[Any] | None = None,
        seed: int = 0,
        test_mode: bool = False,
        indices: int | list[int] | None = None,
    ):
        self.file = file
        self.phrases_per_image = phrases_per_image
        self.questions_per_image = questions_per_image
        self.name_in_answer = name_in_answer
        super().__init__(data_root, pipeline=pipeline, seed=seed, test_mode=test_mode, indices=indices)

    def load_data_list(self) -> list[dict[str, Any]]:
        path = Path(self.data_root) / self.file
        check_file(path, 'the file', type(self).__name__)
        records: dict[str, dict[str, Any]] = {}
        with path.open(encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                where = f'{path}:{number}'
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError(f'{where} is no json ({error}). Mend or delete the line.') from error
                if 'image' not in row or 'masks' not in row or not ('phrase' in row or {'question', 'answer'} <= set(row)):
                    raise DataError(f'{where}: needs image, masks, and phrase or question and answer; keys found: {sorted(row)}.')
                name = row['image']
                if name not in records:
                    check_file(path.parent / name, 'the image', where)
                    records[name] = {'sample_id': name, 'img_path': str(path.parent / name), 'phrases': [], 'questions': []}
                records[name]['phrases' if 'phrase' in row else 'questions'].append(row)
        found = list(records.values())
        if self.test_mode:
            found = [
                {**record, 'sample_id': f'{record["sample_id"]}#{i}', 'phrases': [phrase], 'questions': []}
                for record in found
                for i, phrase in enumerate(record['phrases'])
            ]
        return found

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        conversations, masks = [], []
        for row in choose(record['phrases'], self.phrases_per_image, rng):
            if self.test_mode:
                turn = (prompts.validation_question(row['phrase'], False), prompts.VALIDATION_ANSWER)
            else:
                question = str(rng.choice(prompts.SHORT_QUESTIONS)).format(name=row['phrase'])
                answer = str(rng.choice(prompts.ANSWERS))
                if self.name_in_answer and rng.random() < self.name_in_answer:
                    answer = answer.replace('[SEG]', f'{row["phrase"]} [SEG]')
                turn = (question, answer)
            conversations.append([turn])
            masks += [{'rle': rle} for rle in row['masks']]
        for row in choose(record['questions'], self.questions_per_image, rng):
            conversations.append([('<image>\n' + row['question'], row['answer'])])
            masks += [{'rle': rle} for rle in row['masks']]
        return Asked(conversations, masks)
