"""Referring expressions: refCOCO, refCOCO+, refCOCOg, refCLEF, gRefCOCO, and the sets with false premises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..errors import DataError
from ..registry import DATASETS
from .asking import Thing, ask_about, rows_about
from .base import Asked, BaseSegDataset, SegDatasetOptions
from .coco import CocoFile
from .masks import encode_segmentation
from .reading import read_refs
from .record_formats import CocoAnnotation
from .refer_formats import REF, Ref, Sentence, is_false_premise

# folder -> the author of its split
PLAIN = {'refcoco': 'unc', 'refcoco+': 'unc', 'refcocog': 'umd', 'refclef': 'unc', 'grefcoco': 'unc'}
FALSE_PREMISES = {
    'fprefcoco': 'berkeley_exclude_unified',
    'fprefcoco+': 'berkeley_exclude_unified',
    'fprefcocog': 'berkeley_exclude_unified',
    'rrefcoco': 'unc',
    'rrefcoco+': 'unc',
    'rrefcocog': 'unc',
    'R-refcoco': 'unc_exclude_unified',
    'R-refcoco+': 'unc_exclude_unified',
    'R-refcocog': 'umd_exclude_unified',
}
SPLIT_BY = {**PLAIN, **FALSE_PREMISES}
NAMES = tuple(SPLIT_BY)
COCO_IMAGES = 'images/mscoco/images/train2014'
CLEF_IMAGES = 'images/saiapr_tc-12'


@DATASETS.register_module()
class ReferSegDataset(BaseSegDataset):
    """``data_root/refer_seg/<name>/{refs(<split_by>).p, instances.json}`` with images below ``refer_seg/images``.

    Training: up to ``sentences_per_image`` expressions per image, each in its own conversation. Testing: all expressions of the
    split, with the answer in the prompt.

    gRefCOCO (Liu et al., CVPR 2023): the mask of an expression is the union of its objects, or empty if it has none
    (``no_target``). Its file is ``grefs(<split_by>).p`` or, if that is absent, ``grefs(<split_by>).json``, as ReLA's program
    looks for it. A row's facts: ``{'kind': 'target' or 'no_target'}``.

    FP-RefCOCO (Wu et al., "See, Say, and Segment", CVPR 2024) and R-RefCOCO (Wu et al., "Towards robust referring image
    segmentation", TIP 2024) also have expressions of what the image does not show: their masks are empty, and with ``rejection``
    training answers them with its token. A row's facts: ``{'kind': 'true' or 'false', 'ref': place of its ref in the file}``,
    and ``'gt_sent'``, the corrected expression, where the file has one.

    Args:
        data_root: Folder that contains ``refer_seg``.
        name: The folder. 'refcoco', 'refcoco+', 'refcocog', 'refclef'; 'grefcoco'; 'fprefcoco', 'fprefcoco+', 'fprefcocog';
            'rrefcoco', 'rrefcoco+', 'rrefcocog' (R-RefCOCO as its authors lay it out), 'R-refcoco', 'R-refcoco+', 'R-refcocog'
            (as SESAME does).
        split: 'train', 'val', 'test', 'testA', 'testB' or 'testC' (refCLEF's 'testAB' belongs to both A and B).
        split_by: Author of the split, which names the file; by default as in the published programs: 'umd' for refCOCOg,
            'berkeley_exclude_unified' for FP-RefCOCO, 'unc_exclude_unified' for 'R-refcoco' and 'R-refcoco+',
            'umd_exclude_unified' for 'R-refcocog', otherwise 'unc'. SESAME trains 'refcoco' with 'unc_exclude_unified' too.
        sentences_per_image: Maximum number in training.
        options: See :class:`BaseSegDataset`.
    """

    CHOICES = {'name': NAMES}

    def __init__(
        self,
        data_root: str = '',
        *,
        name: str = 'refcoco',
        split: str = 'train',
        split_by: str | None = None,
        sentences_per_image: int = 3,
        **options: Unpack[SegDatasetOptions],
    ):
        self.check_choices(name=name)
        self.name = name
        self.split = split
        self.split_by = split_by or SPLIT_BY[name]
        self.sentences_per_image = sentences_per_image
        super().__init__(data_root, **options)

    @property
    def title(self) -> str:
        return f'{self.name} ({self.split_by}) {self.split}'

    @property
    def _folder(self) -> Path:
        return Path(self.data_root) / 'refer_seg' / self.name

    @property
    def _refs_file(self) -> Path:
        if self.name != 'grefcoco':
            return self._folder / f'refs({self.split_by}).p'
        pickled = self._folder / f'grefs({self.split_by}).p'
        return pickled if pickled.is_file() else pickled.with_suffix('.json')

    @property
    def _images(self) -> Path:
        return Path(self.data_root) / 'refer_seg' / (CLEF_IMAGES if self.name == 'refclef' else COCO_IMAGES)

    def source_files(self) -> list[Path] | None:
        return [self._refs_file, self._folder / 'instances.json', self._images]

    def load_data_list(self) -> list[dict[str, Any]]:
        self._check_refs_file()
        refs = read_refs(self._refs_file, self.encoding)
        instances = CocoFile(self._folder / 'instances.json', self.encoding, self.notes)
        self.faults += instances.collisions
        records: dict[Any, dict[str, Any]] = {}
        splits: set[str] = set()
        for number, raw in enumerate(refs):
            with self.guarded():
                where = f'ref {raw["ref_id"]}' if isinstance(raw, dict) and 'ref_id' in raw else f'entry {number}'
                ref = REF.read(raw, self._refs_file, where, self.notes)
                splits.add(ref['split'])
                if in_split(ref['split'], self.split):
                    self._add(ref, number, where, instances, records)
        if not records and not self.faults:
            raise DataError(
                f'{self._refs_file}: no expression of split {self.split!r}; splits found: {sorted(splits)}.', file=self._refs_file
            )
        return list(records.values())

    def _check_refs_file(self) -> None:
        """Name the files of other splits, one of which is often meant."""
        file = self._refs_file
        found = sorted(path.name for path in self._folder.glob('*refs(*).*'))
        if found and file.name not in found:
            raise DataError(
                f"{file} is missing; {self._folder} holds {', '.join(found)}. Set split_by to the word in one's brackets.",
                file=file,
            )

    def _add(self, ref: Ref, place: int, where: str, instances: CocoFile, records: dict[Any, dict[str, Any]]) -> None:
        """Add one ref to the record of its image."""
        file, number = self._refs_file, ref['image_id']
        image = instances.image(number, where, file)
        size = (image['height'], image['width'])
        masks: list[Any] = []
        annotations = self._annotations(ref, where, instances)
        for key, annotation in annotations:
            try:
                masks += encode_segmentation(annotation['segmentation'], size)
            except ValueError as error:
                raise DataError(
                    f'{instances.path}: annotation {key} (of {where}): {error}. Mend or delete it.',
                    file=instances.path,
                    record=f'annotation {key}',
                ) from error
        if number not in records:
            path = self._images / image['file_name']
            if not path.is_file():
                raise DataError(
                    f'{file}: {where}: its image {path} is missing. Put it there or take the ref out.', file=path, record=where
                )
            records[number] = {'sample_id': f'{self.name}/{image["file_name"]}', 'img_path': str(path), 'refs': []}
        texts = [sentence['sent'] for sentence in ref['sentences']]
        facts = [self._facts(sentence, place, bool(annotations)) for sentence in ref['sentences']]
        entry = {'texts': texts, 'mask': {'segmentations': masks, 'size': list(size)}}
        records[number]['refs'].append({**entry, 'facts': facts} if any(facts) else entry)

    def _facts(self, sentence: Sentence, place: int, has_target: bool) -> dict[str, Any]:
        """What a metric reads of an expression; 'false' also empties its mask."""
        if self.name == 'grefcoco':
            return {'kind': 'target' if has_target else 'no_target'}
        if self.name not in FALSE_PREMISES and not is_false_premise(sentence):
            return {}
        facts = {'kind': 'false' if is_false_premise(sentence) else 'true', 'ref': place}
        corrected = sentence.get('gt_sent')
        return {**facts, 'gt_sent': corrected} if corrected else facts

    def _annotations(self, ref: Ref, where: str, instances: CocoFile) -> list[tuple[Any, CocoAnnotation]]:
        file, found = self._refs_file, ref['ann_id']
        numbers = found if isinstance(found, list) else [found]
        if ref.get('no_target') or numbers == [-1]:
            if numbers not in ([-1], []):
                raise DataError(f'{file}: {where} has no_target but names annotations {numbers}.', file=file, record=where)
            return []
        for number in numbers:
            if number not in instances.annotations:
                raise DataError(
                    f'{file}: {where} names annotation {number}, which is not in {instances.path.name}.', file=file, record=where
                )
            if instances.annotation(number)['image_id'] != ref['image_id']:
                raise DataError(
                    f'{file}: {where} is about image {ref["image_id"]}, its annotation {number} about '
                    f'{instances.annotation(number)["image_id"]}.',
                    file=file,
                    record=where,
                )
        if not numbers:
            raise DataError(f'{file}: {where} names no annotation; no_target would say that.', file=file, record=where)
        return [(number, instances.annotation(number)) for number in numbers]

    @staticmethod
    def things(record: dict[str, Any]) -> list[Thing]:
        """All expressions of an image with their masks, in file order."""
        found = []
        for ref in record['refs']:
            for text, facts in zip(ref['texts'], ref.get('facts') or [{}] * len(ref['texts']), strict=True):
                mask: Any = {**ref['mask'], 'segmentations': []} if facts.get('kind') == 'false' else ref['mask']
                # validation also asks in lower case, as the original does
                found.append(Thing(text.strip().lower(), mask, facts=facts))
        return found

    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        return ask_about(self.things(record), self.sentences_per_image, rng, test_mode=self.test_mode, wording=self.wording)

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return rows_about(self.things(record))


def in_split(given: str, wanted: str) -> bool:
    """Whether a ref's split is the wanted one; 'testAB' belongs to both testA and testB.

    >>> in_split('testAB', 'testB'), in_split('val', 'train')
    (True, False)
    """
    if wanted in ('testA', 'testB', 'testC'):
        return given.startswith('test') and wanted[-1] in given[4:]
    return given == wanted
