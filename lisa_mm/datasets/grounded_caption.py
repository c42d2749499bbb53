"""Grounded conversation generation (GCG): captions whose phrases have masks (GLaMM, CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from ..tokens import IMAGE_PLACEHOLDER
from .base import Asked, BaseSegDataset, SegDatasetOptions, check_file
from .formats import Format
from .grounded_formats import (
    CAPTION,
    CAPTION_IMAGE,
    FLICKR_ANNOTATION,
    FLICKR_IMAGE,
    GROUNDED,
    GROUNDED_LISTS,
    GROUNDED_REFS,
    CaptionAnnotation,
    FlickrAnnotation,
    FlickrImage,
)
from .grounding import PHRASE_END, PHRASE_START, Grounded, MarkedCaption, mark_caption, mark_labels, place_of
from .masks import EncodedMask, encode_segmentation
from .reading import read_json, read_rows
from .record_formats import COCO_ANNOTATION, CocoAnnotation
from .tokenizer import count_masks
from .wording import file_answers_faults

T = TypeVar('T')

NAMES = ('grandf', 'openpsg', 'refcocog', 'flickr')
SPLITS = ('train', 'val', 'test')
FILES = {
    'grandf': 'GranDf_HA_GCG_{split}.json',
    'openpsg': 'OpenPsgGCG_{split}.json',
    'refcocog': 'RefCOCOg_GCG_{split}.json',
    'flickr': 'flickr_mergedGT_GCG_{split}.json',
}
# below data_root, as GLaMM's program has them ("flikcr" is its spelling)
IMAGES = {
    'grandf': 'GranDf/GranDf_HA_images/train',
    'openpsg': 'coco_2017/train2017',
    'refcocog': 'coco_2014/train2014',
    'flickr': 'flikcr_30k/train',
}
BENCHMARK_IMAGES = 'GranDf/GranDf_HA_images/val_test'
FEWEST_WORDS, SMALLEST_SIDE = 3, 32  # of Flickr's captions and images that GLaMM trains on

# GLaMM's strings; the first is the benchmark's
QUESTIONS = (
    'Could you please give me a detailed description of the image? Please respond with interleaved segmentation masks for the '
    'corresponding parts of the answer.',
    'Can you provide a thorough description of the this image? Please output with interleaved segmentation masks for the '
    'corresponding phrases.',
    'Please describe in detail the contents of the image. Please respond with interleaved segmentation masks for the '
    'corresponding parts of the answer.',
    'Could you give a comprehensive explanation of what can be found within this picture? Please output with interleaved '
    'segmentation masks for the corresponding phrases.',
    'Could you give me an elaborate explanation of this picture? Please respond with interleaved segmentation masks for the '
    'corresponding phrases.',
    'Could you provide me with a detailed analysis of this photo? Please output with interleaved segmentation masks for the '
    'corresponding parts of the answer.',
)


@DATASETS.register_module()
class GroundedCaptionDataset(BaseSegDataset):
    """``data_root/GranDf/annotations``: a question for a description, answered with ``<p> phrase </p> [SEG]`` inside it.

    Files in ``train/``: ``GranDf_HA_GCG_train.json``, ``OpenPsgGCG_<split>.json``, ``RefCOCOg_GCG_<split>.json`` and
    ``flickr_mergedGT_GCG_<split>.json`` (split 'train' or 'val'). Their images: ``GranDf/GranDf_HA_images/train``,
    ``coco_2017/train2017``, ``coco_2014/train2014`` and ``flikcr_30k/train``. The benchmark is 'grandf' with 'val' or 'test':
    ``val_test/<split>_gcg_coco_caption_gt.json`` and ``..._mask_gt.json``, with images in ``GranDf/GranDf_HA_images/val_test``.

    Phrases of the same place in a caption are one target with their masks united. Of phrases that overlap otherwise, the first
    to begin is marked (of two that begin together, the longer one); the others are left out with their count. So are phrases
    without a mask, refCOCOg's phrases that are no words of the caption, Flickr's annotations without an area, and captions
    without any phrase left. A place outside its caption is an error.

    Training: one of GLaMM's questions. Testing: its first question, one row an image; the targets are all masks, in the order of
    the answer. The answer with its ``[SEG]`` is in the prompt (``answers='given'``), or the model says one (``'generated'``, as
    GLaMM's program does). The benchmark's files have no places: in a given answer, a label is marked where it first stands in the
    caption, and behind the caption if it stands nowhere. Facts of a row: ``caption``, the list of reference captions, and
    ``phrases``, one for each target; ``phrases`` is empty where the file has not as many labels as masks.

    Args:
        data_root: Folder that contains ``GranDf`` and the images.
        name: 'grandf', 'openpsg', 'refcocog' or 'flickr'.
        split: 'train', 'val', and for 'grandf' also 'test'.
        image_folder: Folder of the images below ``data_root``; by default as above.
        options: See :class:`BaseSegDataset`. ``bare`` and ``rejection`` have no use: questions and answers are GLaMM's.
    """

    CHOICES = {'name': NAMES, 'split': SPLITS}

    def __init__(
        self,
        data_root: str = '',
        *,
        name: str = 'grandf',
        split: str = 'train',
        image_folder: str | None = None,
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(name=name, split=split)
        self.name = name
        self.split = split
        self.is_benchmark = name == 'grandf' and split != 'train'
        self.image_folder = image_folder or (BENCHMARK_IMAGES if self.is_benchmark else IMAGES[name])
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'GCG {self.name} {self.split}'

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        name = arguments.get('name', 'grandf')
        wrong = arguments.get('split') == 'test' and name in NAMES[1:]
        faults = [f"{cls.__name__}.split is 'test', but {name} has 'train' and 'val'."] if wrong else []
        own = file_answers_faults(cls.__name__, arguments, ('bare', 'rejection'))
        return super().argument_faults(arguments) + faults + own

    @property
    def _folder(self) -> Path:
        return Path(self.data_root) / 'GranDf' / 'annotations' / ('val_test' if self.is_benchmark else 'train')

    def _files(self) -> list[Path]:
        if self.is_benchmark:
            return [self._folder / f'{self.split}_gcg_coco_{kind}_gt.json' for kind in ('caption', 'mask')]
        return [self._folder / FILES[self.name].format(split=self.split)]

    def source_files(self) -> list[Path] | None:
        return [*self._files(), Path(self.data_root) / self.image_folder]

    def load_data_list(self) -> list[dict[str, Any]]:
        if self.is_benchmark:
            return self._benchmark(*self._files())
        path = self._files()[0]
        if self.name == 'flickr':
            return self._flickr(path)
        read = self._refs if self.name == 'refcocog' else self._groundings
        records = []
        for where, number, parse in read_rows(path, self.encoding):
            with self.guarded():
                caption, found, image = read(parse(), path, where)
                records += self._record(caption, found, image, number, path, where)
        return records

    # The layouts: a caption, its phrases, and the name of its image

    def _groundings(self, raw: Any, path: Path, where: str) -> tuple[str, list[Grounded], str]:
        row = GROUNDED.read(raw, path, where, self.notes)
        caption, found = unquoted(row['caption']), []
        for phrase, grounding in row['groundings'].items():
            if not grounding['rle_masks']:
                self.leave_out('phrases without a mask')
                continue
            start, end = grounding['token_positives']
            if caption[start:end].strip().lower() != phrase.strip().lower():
                self.notes['phrases whose place in the caption has another text, which is read'] += 1
            found.append(Grounded(start, end, {'segmentations': encode_segmentation(grounding['rle_masks'])}))
        return caption, found, row['file_name']

    def _refs(self, raw: Any, path: Path, where: str) -> tuple[str, list[Grounded], str]:
        row = GROUNDED_REFS.read(only_value(raw), path, where, self.notes)
        caption, found = unquoted(row['caption']).lower(), []
        for ref in row['refs']:
            place = place_of(ref['sentence'].lower(), caption)
            if place is None:
                self.leave_out('phrases that are no words of their caption')
                continue
            found.append(Grounded(*place, {'segmentations': encode_segmentation(ref['segmentation'])}))
        return caption, found, row['img_file_name']

    def _flickr(self, path: Path) -> list[dict[str, Any]]:
        content = GROUNDED_LISTS.read(read_json(path, self.encoding), path, notes=self.notes)
        images = self._by_id(content['images'], FLICKR_IMAGE, path)
        annotations = self._by_image(self._by_id(content['annotations'], FLICKR_ANNOTATION, path), images, path)
        records = []
        for number, image in images.items():
            with self.guarded():
                if len(image['caption'].split()) < FEWEST_WORDS:
                    self.leave_out(f'captions of fewer than {FEWEST_WORDS} words')
                elif min(image['height'], image['width']) < SMALLEST_SIDE:
                    self.leave_out(f'images with a side below {SMALLEST_SIDE}')
                else:
                    found = self._flickr_phrases(annotations.get(number, []), image, path)
                    records += self._record(
                        unquoted(image['caption']), found, image['file_name'], number, path, f'image {number!r}'
                    )
        return records

    def _flickr_phrases(self, annotations: Sequence[FlickrAnnotation], image: FlickrImage, path: Path) -> list[Grounded]:
        found = []
        for annotation in annotations:
            if annotation.get('ignore') or not has_area(annotation, image):
                self.leave_out('annotations that are to be ignored, or whose box has no area in the image')
                continue
            (start, end), *others = annotation['tokens_positive']
            if others:
                self.notes['annotations of several places in the caption, of which the first is read'] += 1
            size = (image['height'], image['width'])
            try:
                found.append(Grounded(start, end, {'segmentations': encode_segmentation(annotation['sam_mask'], size)}))
            except ValueError as error:
                name = f'annotation {annotation["id"]!r}'
                raise DataError(f'{path}: {name}: {error}. Mend or delete it.', file=path, record=name) from error
        return found

    def _by_id(self, entries: list[Any], kind: Format[T], path: Path) -> dict[Any, T]:
        """The checked entries of a list by their id; an id with two different entries is an error."""
        found: dict[Any, Any] = {}
        for place, raw in enumerate(entries):
            with self.guarded():
                number = raw.get('id') if isinstance(raw, dict) else None
                known = isinstance(number, int | str) and not isinstance(number, bool)
                where = f'{kind.name} {number!r}' if known else f'{kind.name}s[{place}]'
                entry: Any = kind.read(raw, path, where, self.notes)
                if entry['id'] not in found:
                    found[entry['id']] = entry
                elif found[entry['id']] == entry:
                    self.notes[f'{path.name}: {kind.name} entries that are there twice, equal'] += 1
                else:
                    raise DataError(f'{path}: {where} is there twice, with different values.', file=path, record=where)
        return found

    def _by_image(self, entries: Mapping[Any, T], images: Mapping[Any, Any], path: Path) -> dict[Any, list[T]]:
        """Entries by their image, in file order; one of an unknown image is an error."""
        found: dict[Any, list[T]] = {}
        for number, entry in entries.items():
            with self.guarded():
                image: Any = entry['image_id']  # pyright: ignore[reportIndexIssue] - each of these formats has it
                if image not in images:
                    raise DataError(
                        f'{path}: annotation {number!r} names image {image!r}, which is not among the {len(images)} images.',
                        file=path,
                        record=number,
                    )
                found.setdefault(image, []).append(entry)
        return found

    def _benchmark(self, caption_file: Path, mask_file: Path) -> list[dict[str, Any]]:
        told = GROUNDED_LISTS.read(read_json(caption_file, self.encoding), caption_file, notes=self.notes)
        drawn = GROUNDED_LISTS.read(read_json(mask_file, self.encoding), mask_file, notes=self.notes)
        images = self._by_id(told['images'], CAPTION_IMAGE, caption_file)
        captions = self._by_image(self._by_id(told['annotations'], CAPTION, caption_file), images, caption_file)
        masks = self._by_image(self._by_id(drawn['annotations'], COCO_ANNOTATION, mask_file), images, mask_file)
        records = []
        for number, image in images.items():
            with self.guarded():
                where = f'image {number!r}'
                if number not in captions:
                    raise DataError(f'{caption_file}: {where} has no caption.', file=caption_file, record=where)
                marked, references = self._labelled(captions[number], masks.get(number, []))
                for caption in references:
                    self._check_caption(caption, caption_file, where)
                name = image.get('file_name') or f'{number}.jpg'
                records.append(self._finished(marked, references, name, number, caption_file, where))
        return records

    def _labelled(
        self, captions: Sequence[CaptionAnnotation], annotations: Sequence[CocoAnnotation]
    ) -> tuple[MarkedCaption, list[str]]:
        """The marked first caption of an image of the benchmark, and all captions."""
        references = [unquoted(caption['caption']) for caption in captions]
        labels = captions[0].get('labels', [])
        masks: list[EncodedMask] = [{'segmentations': encode_segmentation(one['segmentation'])} for one in annotations]
        if len(labels) != len(masks):
            self.notes['images with another number of labels than of masks: their masks have no phrases'] += 1
            labels = []
        return mark_labels(references[0], labels, masks), references

    def _record(
        self, caption: str, found: list[Grounded], image: str, number: object, path: Path, where: str
    ) -> list[dict[str, Any]]:
        """The record of a caption; none if it has no phrase."""
        self._check_caption(caption, path, where)
        for one in found:
            if one.end > len(caption) or not caption[one.start : one.end].strip():
                fault = 'lies outside the caption' if one.end > len(caption) else 'holds blanks alone'
                raise DataError(
                    f'{path}: {where}: the place [{one.start}, {one.end}] of a phrase {fault}, which has {len(caption)} '
                    'characters. Mend it or delete the phrase.',
                    file=path,
                    record=where,
                )
        marked = mark_caption(caption, found)
        if marked.united:
            self.notes['phrases of the same place, whose masks are united'] += marked.united
        for _ in range(marked.overlapping):
            self.leave_out('phrases that overlap one before them in their caption')
        if not marked.masks:
            self.leave_out('captions without a phrase that has a mask')
            return []
        return [self._finished(marked, [caption], image, number, path, where)]

    def _finished(
        self, marked: MarkedCaption, captions: list[str], image: str, number: object, path: Path, where: str
    ) -> dict[str, Any]:
        file = Path(self.data_root) / self.image_folder / image
        check_file(file, 'the image', f'{path}: {where}')
        assert count_masks(marked.answer, self.mask_tokens) == len(marked.masks)
        return {
            'sample_id': f'{path.name}:{number}',
            'img_path': str(file),
            'answer': marked.answer,
            'masks': marked.masks,
            'phrases': marked.phrases,
            'captions': captions,
        }

    def _check_caption(self, caption: str, path: Path, where: str) -> None:
        """Raise a DataError for a caption that can't be marked."""
        marks = (PHRASE_START, PHRASE_END, IMAGE_PLACEHOLDER, *self.mask_tokens)
        held = next((mark for mark in marks if mark in caption), None)
        if held or not caption:
            fault = f'holds {held}. Take it out' if held else 'is empty. Write it or delete the record'
            raise DataError(f'{path}: {where}: its caption {fault}.', file=path, record=where)

    def objects(self, record: dict[str, Any]) -> list[EncodedMask]:
        return record['masks']

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        question = QUESTIONS[0] if self.test_mode else str(rng.choice(QUESTIONS))
        facts = [{'caption': record['captions'], 'phrases': record['phrases']}] if self.test_mode else []
        return Asked([[(f'{IMAGE_PLACEHOLDER}\n{question}', record['answer'])]], record['masks'], facts=facts)


def unquoted(caption: str) -> str:
    """A caption without blanks and double quotation marks around it, as GLaMM reads it; places count from here.

    >>> unquoted(' "A man." ')
    '"A man."'
    >>> unquoted('"A man. "')
    'A man.'
    """
    return caption.strip('"').strip()


def only_value(raw: Any) -> Any:
    """The row in ``{id: row}``; any other value as it is."""
    value = next(iter(raw.values())) if isinstance(raw, dict) and len(raw) == 1 else None
    return value if isinstance(value, dict) else raw


def has_area(annotation: FlickrAnnotation, image: FlickrImage) -> bool:
    """Whether an annotation has an area, and its box a part of the image, each side at least 1 (GLaMM)."""
    x, y, width, height = annotation['bbox']
    inner_width = min(x + width, image['width']) - max(x, 0)
    inner_height = min(y + height, image['height']) - max(y, 0)
    return annotation['area'] > 0 and width >= 1 and height >= 1 and inner_width > 0 and inner_height > 0
