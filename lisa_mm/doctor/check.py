"""Find all faults of data sets in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mmengine.config import Config

from ..config.compile import compile_config
from ..datasets.base import BaseSegDataset
from ..datasets.leaks import ImageSet, content_hash, find_leaks, image_paths
from ..datasets.mask_images import mask_note
from ..datasets.masks import decode_mask, vertices_outside
from ..datasets.parquet import file_size
from ..datasets.shapes import shape_kind
from ..errors import ConfigError, DataError, UserError
from ..registry import DATASETS
from ..tokens import IMAGE_END, IMAGE_PLACEHOLDER, IMAGE_START, MASK_TOKENS
from .image_steps import ImageSteps
from .sets import datasets_with_pipelines

# an answer with one of these ends, or starts, a turn in some template
SEPARATORS = ('</s>', '<s>', '[INST]', '[/INST]', '<<SYS>>', 'USER:', 'ASSISTANT:', '<|im_start|>', '<|im_end|>', '<|eot_id|>')
RESERVED = (IMAGE_START, IMAGE_END)
# the replacement character, and control characters that nobody writes but that cp1252 read as Latin-1 gives
DAMAGED = re.compile('[\ufffd\x80-\x9f]')


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        level: 'error' fails the check, 'note' does not.
        dataset: Title of the data set.
        file: The file at fault.
        record: The record in the file.
        problem: The fault and its remedy.
    """

    level: str
    dataset: str
    file: str
    record: str
    problem: str

    def as_dict(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


def check(config: Config, *, images: bool = True, workers: int = 4) -> list[Finding]:
    """Every fault of every data set of a config, in all splits; the check continues after each fault.

    Args:
        config: A source from :func:`lisa_mm.config.load_config`.
        images: Decode every image and mask; otherwise only read annotation files and look for images.
        workers: Number of decoding threads.

    Raises:
        ConfigError: if the config names no data set, or one that is not registered.
    """
    found: list[Finding] = []
    opened: list[tuple[str, BaseSegDataset]] = []
    compiled, why_not = _compiled(config) if images else (config, '')
    configs = datasets_with_pipelines(compiled)
    if not configs:
        raise ConfigError('the config has no data set: nothing to check.')
    for split, entry, pipeline in configs:
        dataset, findings = open_leniently(entry)
        found += findings
        if dataset is not None:
            opened.append((split, dataset))
            found += check_texts(dataset)
            found += check_ambiguity(dataset)
            if images:
                found += check_pixels(dataset, ImageSteps(pipeline, why_not), workers)
            found += check_duplicates(dataset)
    found += check_leaks(opened)
    return list(dict.fromkeys(found))


def open_leniently(entry: dict[str, Any]) -> tuple[BaseSegDataset | None, list[Finding]]:
    """A data set without its broken records, and their faults; None if it is unusable."""
    if DATASETS.get(entry['type']) is None:
        raise ConfigError(f'{entry["type"]!r} is no registered data set.')
    title = ' '.join(str(entry[key]) for key in ('type', 'name', 'file', 'split') if entry.get(key))
    try:
        dataset = DATASETS.build({**entry, 'skip_bad': True, 'cache_index': False})
    except DataError as error:
        return None, [Finding('error', title, error.file, error.record, line) for line in str(error).splitlines() or ['']]
    findings = [Finding('error', dataset.title, fault.file, fault.record, str(fault)) for fault in dataset.faults]
    for note, count in dataset.notes.items():
        findings.append(Finding('note', dataset.title, dataset.data_root, '', f'{note} ({count})'))
    for reason, count in dataset.left_out.items():
        if 'skip_bad' not in reason:
            findings.append(Finding('note', dataset.title, dataset.data_root, '', f'{count} left out: {reason}'))
    return dataset, findings


def records(dataset: BaseSegDataset) -> Iterator[dict[str, Any]]:
    """Every record."""
    for number in range(len(dataset)):
        yield dataset.get_data_info(number)


def check_texts(dataset: BaseSegDataset) -> Iterator[Finding]:
    """Find empty texts, and texts with words reserved by a template or the model."""
    for record in records(dataset):
        file = record['img_path'] or record['sample_id']
        for row in dataset.rows(record):
            turns = [[row.get('phrase', row.get('question', '')), None]] if 'turns' not in row else row['turns']
            for question, answer in turns:
                for text, who in ((question, 'a question'), (answer, 'an answer')):
                    if text is None:
                        continue
                    name = record['sample_id']
                    problem = text_problem(text, who, phrase='turns' not in row, mask_tokens=dataset.mask_tokens)
                    if problem:
                        yield Finding('error', dataset.title, file, name, f'{name}: {problem}')
                    strange = DAMAGED.search(text)
                    if strange:
                        yield Finding(
                            'note',
                            dataset.title,
                            file,
                            name,
                            f'{name}: {who} holds the character U+{ord(strange[0]):04X}: it was once read in a wrong encoding: '
                            f'{text[:80]!r}.',
                        )


def check_ambiguity(dataset: BaseSegDataset) -> Iterator[Finding]:
    """Count words that ask for different masks of one image: a note: published sets hold many (two "dog left eye")."""
    count, example = 0, ''
    for record in records(dataset):
        first: dict[str, Any] = {}
        for row in dataset.rows(record):
            text = row.get('phrase', row.get('question'))
            if text is not None and first.setdefault(text, row['masks']) != row['masks']:
                count += 1
                example = example or f'{record["sample_id"]}: {text[:80]!r}'
    if count:
        problem = f'{count} questions ask in the words of another one about the same image but for another mask, first {example}.'
        yield Finding('note', dataset.title, dataset.data_root, '', problem)


def text_problem(text: str, who: str, *, phrase: bool, mask_tokens: Sequence[str] = MASK_TOKENS) -> str | None:
    """The fault of a text, or None."""
    if not text.replace(IMAGE_PLACEHOLDER, '').strip():
        return f'{who} is empty. Write it or delete the row.'
    kept = [*SEPARATORS, *RESERVED, *([*mask_tokens, IMAGE_PLACEHOLDER] if phrase else [])]
    held = [word for word in kept if word in text]
    if held:
        return f'{who} holds {held[0]!r}, which a conversation template or the model keeps for itself: {text[:80]!r}. Reword it.'
    return None


def _compiled(config: Config) -> tuple[Config, str]:
    """The compiled config; or the config as it is, and why it can't be compiled (a folder of the model may be elsewhere)."""
    if not config.get('model'):
        return config, 'the config has no model'
    try:
        return compile_config(config), ''
    except UserError as error:
        return config, str(error).splitlines()[0]


def check_pixels(dataset: BaseSegDataset, steps: ImageSteps, workers: int) -> Iterator[Finding]:
    """Find images that can't be read or prepared for the model, masks that can't be decoded or differ in size, empty masks."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as threads:
        for findings in threads.map(lambda record: list(_check_record(dataset, steps, record)), records(dataset)):
            yield from findings
    if steps.not_checked:
        problem = f'whether the model takes images of these sizes is not checked: {steps.not_checked}'
        yield Finding('note', dataset.title, dataset.data_root, '', problem)


def _check_record(dataset: BaseSegDataset, steps: ImageSteps, record: dict[str, Any]) -> Iterator[Finding]:
    path, name = record['img_path'], record['sample_id']
    if path is None:
        return
    try:
        height, width, notes = steps.run(path, name)
    except DataError as error:
        yield Finding('error', dataset.title, error.file or path, name, str(error))
        return
    for note in notes:
        yield Finding('note', dataset.title, path, name, f'{name}: the image {path} {note}')
    seen: set[str] = set()
    for row in dataset.rows(record):
        for spec in row['masks']:
            if repr(spec) in seen:
                continue
            seen.add(repr(spec))
            files: dict[str, np.ndarray] = {}
            try:
                mask = decode_mask(spec, height, width, name, maps=files)
            except DataError as error:
                yield Finding('error', dataset.title, error.file or path, name, str(error))
                continue
            outside = vertices_outside(spec, height, width)
            if outside:
                yield Finding(
                    'note',
                    dataset.title,
                    path,
                    name,
                    f'{name}: {outside} vertices of a mask lie outside the image; what is outside is cut off.',
                )
            if not (mask == 1).any():
                yield from _empty_mask(dataset, record, spec, mask)
            note = mask_note(files[spec['png']]) if 'png' in spec else None
            if note:
                yield Finding('note', dataset.title, spec['png'], name, f'{name}: the mask {spec["png"]} {note}')


def _empty_mask(dataset: BaseSegDataset, record: dict[str, Any], spec: dict[str, Any], mask: np.ndarray) -> Iterator[Finding]:
    """Report an empty mask: drawn shapes that cover no pixel are an error, an intentionally empty mask is a note."""
    drawn = bool(spec.get('segmentations')) or any(shape_kind(shape['label']) == 'target' for shape in spec.get('shapes', []))
    level, name = ('error', record['sample_id']) if drawn else ('note', record['sample_id'])
    what = 'its shapes leave no pixel of the image' if drawn else 'the mask is empty'
    yield Finding(level, dataset.title, record['img_path'], name, f'{name}: {what}. If it is not meant so, draw it again.')


def check_duplicates(dataset: BaseSegDataset) -> Iterator[Finding]:
    """Find equal content under two names in a data set: a note, because it only shifts the proportions."""
    by_size: dict[int, list[str]] = {}
    for path in dict.fromkeys(path for path in image_paths(dataset) if path):
        size = file_size(path)
        if size is not None:  # missing images are found when records are checked
            by_size.setdefault(size, []).append(path)
    for paths in by_size.values():
        first: dict[str, str] = {}
        for path in paths if len(paths) > 1 else []:
            other = first.setdefault(content_hash(path), path)
            if other != path:
                yield Finding('note', dataset.title, path, path, f'{path} is the same file as {other}.')


def check_leaks(opened: list[tuple[str, BaseSegDataset]]) -> Iterator[Finding]:
    """Find training images that are also in an evaluation split, by image id or content."""
    held_out = ImageSet()
    for split, dataset in opened:
        if split != 'train':
            held_out.add(dataset)
    for split, dataset in opened:
        if split == 'train':
            for number, how, where in find_leaks(dataset, held_out):
                record = dataset.get_data_info(number)
                yield Finding(
                    'error',
                    dataset.title,
                    record['img_path'],
                    record['sample_id'],
                    f'{record["sample_id"]}: its image is in {where} too (same {how}). Take it out, or name that split in '
                    'exclude_val of the mixture.',
                )
