"""ReasonSeg: one implicit question per image (Lai et al., CVPR 2024)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from . import prompts
from .asking import choose
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .encodings import decode_text, is_typographic, is_utf8, read_bytes
from .labelme import encode_shapes
from .masks import EncodedMask
from .reading import kind_of_json, parse_json
from .record_formats import EXPLANATION, REASON_SEG
from .tokenizer import count_masks

CONTROLS = ('none', 'other_question')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.JPG', '.JPEG', '.PNG')


@DATASETS.register_module()
class ReasonSegDataset(BaseSegDataset):
    """``data_root/reason_seg/ReasonSeg/<split>``: images with one labelme json each; ``explanatory/train.json`` beside.

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
        return [mask_of(record, target) for target in record['targets']]

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
        first: dict[str, int] = {}
        entries = self._read(path)
        if not isinstance(entries, list):
            raise DataError(f'{path}: expected a list of explanations, got {kind_of_json(entries)}.', file=path)
        for number, entry in enumerate(entries):
            with self.guarded():
                where = f'entry {number}'
                read = EXPLANATION.read(entry, path, where, self.notes)
                image, text = read['image'], read['outputs']
                if count_masks(text, self.mask_tokens):
                    raise DataError(
                        f'{path}: {where}: outputs holds {" or ".join(self.mask_tokens)}, which is put before it. Take it out.',
                        file=path,
                        record=where,
                    )
                check_file(root / self.split / image, 'the explained image', f'{path}: {where}')
                if explained.setdefault(image, text) != text:
                    raise DataError(
                        f'{path}: entries {first[image]} and {number} explain the same image {image} with different texts. '
                        'Delete one of them.',
                        file=path,
                        record=where,
                    )
                first.setdefault(image, number)
        return explained

    def _read(self, path: Path) -> Any:
        """A json; some published ones hold typographic characters of cp1252."""
        raw = read_bytes(path)
        encoding = self.encoding
        if encoding is None and is_typographic(raw) and not is_utf8(raw):
            encoding = 'cp1252'
            self.notes[f'{path.name} is not in UTF-8 and was read as cp1252, by the punctuation that it holds'] += 1
        return parse_json(decode_text(raw, path, encoding), path, '')

    def _record(self, path: Path, explained: dict[str, str]) -> dict[str, Any]:
        content = REASON_SEG.read(self._read(path), path, notes=self.notes)
        image = find_image(path, content.get('imagePath'))
        size = [content.get('imageHeight'), content.get('imageWidth')]
        targets = []
        for target in (content, *content.get('others', [])):
            targets.append(
                {'text': target['text'], 'is_sentence': target['is_sentence'], 'shapes': encode_shapes(target['shapes'])}
            )
        return {
            'sample_id': f'{self.split}/{path.name}',
            'img_path': str(image),
            'targets': targets,
            'explanation': explained.get(image.name),
            **({'size': size} if None not in size else {}),
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
            kind = 'long' if target['is_sentence'] else 'short'  # as the published tables split the test set
            return Asked([[(question, prompts.VALIDATION_ANSWER)]], [mask_of(record, target)], facts=[{'kind': kind}])
        explanation = record['explanation']
        if explanation and rng.random() < self.explanatory:
            return Asked([[('<image>\n' + str(rng.choice(target['text'])), explanation)]], [])
        conversations, masks = [], []
        for text in choose(target['text'], self.texts_per_image, rng):
            explain = bool(explanation) and target['is_sentence'] and rng.random() < 0.5
            masks.append(mask_of(record, target))
            conversations.append([self._turn(text, target['is_sentence'], masks[-1], explanation if explain else None, rng)])
        for other in choose(record['targets'][1:], self.others_per_image, rng):
            masks.append(mask_of(record, other))
            conversations.append([self._turn(str(rng.choice(other['text'])), other['is_sentence'], masks[-1], None, rng)])
        return Asked(conversations, self.wording.kept(masks))

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for target in record['targets']:
            for text in target['text']:
                rows.append({'question' if target['is_sentence'] else 'phrase': text, 'masks': [mask_of(record, target)]})
        if record['explanation']:
            rows.append({'turns': [[record['targets'][0]['text'][0], record['explanation']]], 'masks': []})
        return rows

    def _turn(
        self, text: str, is_sentence: bool, mask: EncodedMask, explanation: str | None, rng: np.random.Generator
    ) -> tuple[str, str]:
        answer = self.wording.rejecting_answer(mask, rng) or str(rng.choice(prompts.ANSWERS))
        if explanation is not None:
            return str(rng.choice(prompts.EXPLANATORY_QUESTIONS)).format(sentence=text), f'{answer} {explanation}'
        bare = self.wording.bare_question(text, rng)
        if bare is not None:
            return bare, answer
        if is_sentence:
            return str(rng.choice(prompts.LONG_QUESTIONS)).format(sentence=text), answer
        return str(rng.choice(prompts.SHORT_QUESTIONS)).format(name=text.lower()), answer


def mask_of(record: dict[str, Any], target: dict[str, Any]) -> EncodedMask:
    """The encoded mask of one of a record's targets."""
    mask: EncodedMask = {'shapes': target['shapes']}
    return {**mask, 'size': record['size']} if 'size' in record else mask


def natural_key(path: Path) -> list[Any]:
    """Sort key that puts train_2 before train_10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r'(\d+)', path.name)]


def find_image(path: Path, named: str | None) -> Path:
    """The image of a labelme json: the name in ``imagePath``, in the json's folder, or else the image of the same name.

    Raises:
        DataError: if it is missing, or several have the name.
    """
    # labelme writes a path of the annotator's machine
    name = re.split(r'[/\\]', named)[-1] if named else ''
    if name and (path.parent / name).is_file():
        return path.parent / name
    found = [image for suffix in IMAGE_SUFFIXES if (image := path.with_suffix(suffix)).is_file()]
    if len(found) > 1:
        raise DataError(
            f'{path}: {" and ".join(image.name for image in found)} have its name. Take one out, or name it in imagePath.',
            file=path,
        )
    if not found:
        said = f' (its imagePath is {named!r})' if named else ''
        raise DataError(
            f'{path}: the image {path.with_suffix(".jpg")} is missing{said}, and so is one with another suffix '
            f'({", ".join(IMAGE_SUFFIXES[1:])}). Put it there or take the record out.',
            file=path.with_suffix('.jpg'),
            record=str(path),
        )
    return found[0]
