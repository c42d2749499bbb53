"""ReasonSeg: one implicit question per image (Lai et al., CVPR 2024)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from . import prompts
from .asking import choose
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .masks import EncodedMask, shape_kind
from .reading import field, read_json

CONTROLS = ('none', 'other_question')


@DATASETS.register_module()
class ReasonSegDataset(BaseSegDataset):
    """``data_root/reason_seg/ReasonSeg/<split>/*.jpg`` with one json per image, and ``explanatory/train.json``.

    Training: up to ``texts_per_image`` texts, each in its own conversation about the same mask. If the json has ``others``
    (our demo: further objects of the scene), up to ``others_per_image`` of them are asked about too. An image with an explanation
    gives a text-only answer with probability ``explanatory``; otherwise ``[SEG]`` with or without it, half each (recipe).
    Testing: the first text, with the answer ``[SEG].`` given in the prompt.

    Args:
        data_root: Folder that contains ``reason_seg/ReasonSeg``.
        split: Subfolder 'train', 'val' or 'test'.
        texts_per_image: Maximum number in training.
        others_per_image: Maximum number in training.
        explanatory: The probability above; a negative value leaves explanations out.
        control: In testing, 'other_question' asks about another object of the image (``others``) or, if the data set has none,
            asks the next image's question; the masks stay. A model that listens then scores low.
        options: See :class:`BaseSegDataset`.
    """

    CHOICES = {'control': CONTROLS}

    def __init__(
        self,
        data_root: str = '',
        *,
        split: str = 'train',
        texts_per_image: int = 3,
        others_per_image: int = 0,
        explanatory: float = 0.1,
        control: str = 'none',
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(control=control)
        self.split = split
        self.texts_per_image = texts_per_image
        self.others_per_image = others_per_image
        self.explanatory = explanatory
        self.control = control
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'ReasonSeg {self.split}'

    def controls(self) -> tuple[str, ...]:
        return ('other_question',)

    def objects(self, record: dict[str, Any]) -> list[EncodedMask]:
        return [{'shapes': target['shapes']} for target in record['targets']]

    def source_files(self) -> list[Path] | None:
        root = Path(self.data_root) / 'reason_seg' / 'ReasonSeg'
        folder = root / self.split
        return [folder, *sorted(folder.glob('*.json')), root / 'explanatory' / 'train.json']

    def load_data_list(self) -> list[dict[str, Any]]:
        root = Path(self.data_root) / 'reason_seg' / 'ReasonSeg'
        folder = root / self.split
        if not folder.is_dir():
            have = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
            raise DataError(
                f'{folder} is no folder; splits found: {have}. Check data_root (it holds reason_seg/ReasonSeg/<split>).',
                file=folder,
            )
        explained = self._explanations(root) if self.split == 'train' and self.explanatory >= 0 else {}
        records = []
        for path in sorted(folder.glob('*.json'), key=natural_key):
            with self.guarded():
                records.append(self._record(path, explained))
        if self.test_mode and self.control == 'other_question':
            self._exchange_questions(records)
        return records

    def _explanations(self, root: Path) -> dict[str, str]:
        path = root / 'explanatory' / 'train.json'
        if not path.is_file():
            return {}
        explained: dict[str, str] = {}
        for number, entry in enumerate(read_json(path)):
            with self.guarded():
                where = f'entry {number}'
                image, text = field(entry, 'image', str, where, path), field(entry, 'outputs', str, where, path)
                if not text.strip():
                    raise DataError(f'{path}: {where}: outputs is empty. Write it or delete the entry.', file=path, record=where)
                check_file(root / self.split / image, 'the explained image', f'{path}: {where}')
                explained[image] = text
        return explained

    def _record(self, path: Path, explained: dict[str, str]) -> dict[str, Any]:
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(
                f'{path}: expected an object with text, is_sentence, shapes; got a {type(content).__name__}.', file=path
            )
        image = path.with_suffix('.jpg')
        check_file(image, 'the image', str(path))
        targets = [content, *content.get('others', [])]
        for number, target in enumerate(targets):
            check_target(target, f'{path}' if not number else f'{path}, others[{number - 1}]')
        return {
            'sample_id': f'{self.split}/{path.name}',
            'img_path': str(image),
            'targets': [{k: t[k] for k in ('text', 'is_sentence', 'shapes')} for t in targets],
            'explanation': explained.get(image.name),
        }

    @staticmethod
    def _exchange_questions(records: list[dict[str, Any]]) -> None:
        """Each record gets another object's question; its own mask stays."""
        questions = [record['targets'][0] for record in records]
        for i, record in enumerate(records):
            own = record['targets'][0]
            others = record['targets'][1:] or [questions[(i + 1) % len(questions)]]
            other = others[i % len(others)]
            record['targets'] = [{**own, 'text': other['text'], 'is_sentence': other['is_sentence']}]

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        target = record['targets'][0]
        if self.test_mode:
            question = prompts.validation_question(target['text'][0], target['is_sentence'])
            return Asked([[(question, prompts.VALIDATION_ANSWER)]], [{'shapes': target['shapes']}])
        explanation = record['explanation']
        if explanation and rng.random() < self.explanatory:
            return Asked([[('<image>\n' + str(rng.choice(target['text'])), explanation)]], [])
        conversations, masks = [], []
        for text in choose(target['text'], self.texts_per_image, rng):
            explain = bool(explanation) and target['is_sentence'] and rng.random() < 0.5
            conversations.append([self._turn(text, target['is_sentence'], explanation if explain else None, rng)])
            masks.append({'shapes': target['shapes']})
        for other in choose(record['targets'][1:], self.others_per_image, rng):
            conversations.append([self._turn(str(rng.choice(other['text'])), other['is_sentence'], None, rng)])
            masks.append({'shapes': other['shapes']})
        return Asked(conversations, masks)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for target in record['targets']:
            for text in target['text']:
                rows.append({'question' if target['is_sentence'] else 'phrase': text, 'masks': [{'shapes': target['shapes']}]})
        if record['explanation']:
            rows.append({'turns': [[record['targets'][0]['text'][0], record['explanation']]], 'masks': []})
        return rows

    @staticmethod
    def _turn(text: str, is_sentence: bool, explanation: str | None, rng: np.random.Generator) -> tuple[str, str]:
        answer = str(rng.choice(prompts.ANSWERS))
        if explanation is not None:
            return str(rng.choice(prompts.EXPLANATORY_QUESTIONS)).format(sentence=text), f'{answer} {explanation}'
        if is_sentence:
            return str(rng.choice(prompts.LONG_QUESTIONS)).format(sentence=text), answer
        return str(rng.choice(prompts.SHORT_QUESTIONS)).format(name=text.lower()), answer


def natural_key(path: Path) -> list[Any]:
    """Sort key that puts train_2 before train_10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r'(\d+)', path.name)]


def check_target(target: Mapping[str, Any], where: str) -> None:
    """Check the contents of a ReasonSeg json.

    Raises:
        DataError: naming file and record.
    """
    for key in ('text', 'is_sentence', 'shapes'):
        if key not in target:
            raise DataError(f'{where}: key {key!r} is missing; keys found: {sorted(target)}.', file=where, record=key)
    if not target['text'] or not all(isinstance(t, str) and t.strip() for t in target['text']):
        raise DataError(
            f'{where}: text is {target["text"]!r}; it needs at least one question that is not empty.', file=where, record='text'
        )
    for number, shape in enumerate(target['shapes']):
        if 'label' not in shape:
            raise DataError(f'{where}: shapes[{number}] has no label; keys found: {sorted(shape)}.', file=where, record=number)
        points = shape.get('points', [])
        if shape_kind(shape) == 'flag':
            continue
        if len(points) < 2:
            raise DataError(
                f'{where}: shapes[{number}] is an empty polygon ({len(points)} points). Draw it or delete it.',
                file=where,
                record=f'shapes[{number}]',
            )
        if not all(len(point) == 2 and all(isinstance(value, (int, float)) for value in point) for point in points):
            raise DataError(
                f'{where}: shapes[{number}] has a point that is no pair of numbers. Draw it again.',
                file=where,
                record=f'shapes[{number}]',
            )
