"""The base of every data set of segmentation conversations."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..errors import ConfigError, DataError, nearest
from ..registry import TRANSFORMS
from ..tokens import MASK_TOKENS
from .conversation import Turn
from .encodings import check_encoding
from .index import FileState, RecordIndex, cache_path
from .masks import EncodedMask
from .tokenizer import count_masks
from .wording import Wording, wording_faults

NOT_THE_INDEX = {
    *('seed', 'cache_index', 'pipeline', 'data_list', 'faults', 'left_out', 'notes', 'max_refetch', '_metainfo'),
    *('bare', 'rejection', 'answers'),
}
FAULTS_SHOWN = 10
ANSWERS = ('given', 'generated')  # who says the answer in testing


@dataclass
class Asked:
    """The questions about one image.

    Args:
        conversations: One list of (question, answer) per row.
        masks: Encoded masks (see :mod:`lisa_mm.datasets.masks`), one per mask token (``[SEG]``), in the order of the rows.
        systems: One system text per row, in place of the template's own where it is not None; empty if no row has one.
        facts: In testing, what a benchmark's metric reads besides masks, such as ``{'kind': 'long'}``: JSON values, one dict per
            row; empty if there are none.
    """

    conversations: list[list[Turn]]
    masks: list[EncodedMask]
    systems: list[str | None] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)


class SegDatasetOptions(TypedDict, total=False):
    """Arguments that every data set takes besides its own, see :class:`BaseSegDataset`."""

    pipeline: list[Any] | None
    seed: int
    test_mode: bool
    indices: int | list[int] | None
    skip_bad: bool
    cache_index: bool
    encoding: str | None
    mask_tokens: list[str] | tuple[str, ...]
    bare: float
    rejection: str | None
    answers: str


class BaseSegDataset(BaseDataset):
    """One sample = one image, its conversations, and its masks, still encoded.

    In training, item ``n`` of an endless sequence is a pure function of (seed, n): which image, which texts, which templates.
    Every image appears once before any appears twice. In testing, item ``n`` is record ``n``.

    A reader implements :meth:`load_data_list` and :meth:`ask`; with :meth:`source_files`, its index is kept on disk. It
    takes and passes on ``**options: Unpack[SegDatasetOptions]``, and gives :attr:`wording` to whatever words its questions.

    Args:
        data_root: Root folder, like the original's ``--dataset_dir``.
        pipeline: Transforms, dict -> dict.
        seed: Seed of the sampling.
        test_mode: True for validation and testing.
        indices: Number of first records to use, or a list of record numbers.
        skip_bad: If True, leave out, count and log broken records; by default they make the data set fail.
        cache_index: Keep the index on disk (see :func:`lisa_mm.datasets.index.cache_path`).
        encoding: Encoding of the annotation files, a name that Python knows ('gbk'); by default what their byte order mark says,
            otherwise UTF-8. A file in another encoding is an error that names the likely one.
        mask_tokens: Answer tokens that ask for a mask (derived from the language model).
        bare: In training, the probability that a text of the data set is asked as it is (``the red cup``), without the recipe's
            words around it: what users type.
        rejection: In training, the answer token of questions whose target is empty, such as '[REJ]'; the language model must
            have it in ``answer_tokens``. The answer then has no ``[SEG]`` and no mask. None answers with ``[SEG]`` and an empty
            mask. A png is not opened for it: a blank one stays a mask.
        answers: In testing, 'given' puts the answer with its ``[SEG]`` into the prompt (as published), 'generated' leaves the
            last answer of each conversation to the model; ``EvaluationLoop`` has this argument too, and sets it here.
    """

    METAINFO = {}
    data_root: str
    loaded_state: FileState | None = None  # of the annotation files, when they were read
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # argument -> what it can be, checked before any data is read

    def __init__(
        self,
        data_root: str = '',
        *,
        pipeline: list[Any] | None = None,
        seed: int = 0,
        test_mode: bool = False,
        indices: int | list[int] | None = None,
        skip_bad: bool = False,
        cache_index: bool = True,
        encoding: str | None = None,
        mask_tokens: list[str] | tuple[str, ...] = MASK_TOKENS,
        bare: float = 0.0,
        rejection: str | None = None,
        answers: str = 'given',
    ):
        self.seed = seed
        self.mask_tokens = tuple(mask_tokens)
        self.skip_bad = skip_bad
        self.cache_index = cache_index
        self.bare = bare
        self.rejection = rejection
        self.answers = answers
        given = {'answers': answers, 'encoding': encoding, 'mask_tokens': mask_tokens, 'bare': bare, 'rejection': rejection}
        if faults := self.argument_faults(given):
            raise ConfigError(faults)
        self.encoding = encoding
        self.notes: Counter[str] = Counter()
        self.faults: list[DataError] = []
        self.left_out: dict[str, int] = {}
        self._order: tuple[int, np.ndarray] | None = None
        if data_root and not Path(data_root).is_dir():
            raise DataError(
                f'data_root {data_root!r} is no folder. Give --cfg-options data_root=DIR, or make the demo: tools/make_demo.py.',
                file=data_root,
            )
        super().__init__(
            data_root=data_root,
            data_prefix={},
            pipeline=build_transforms(pipeline),
            test_mode=test_mode,
            indices=indices,
            serialize_data=True,
        )

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Faults of the arguments that can be found before data is read."""
        tokens = arguments.get('mask_tokens') or MASK_TOKENS
        faults = check_encoding(arguments.get('encoding'), cls.__name__) + wording_faults(arguments, cls.__name__, tokens)
        return faults + [
            f'{cls.__name__}.{key} is {arguments[key]!r}; allowed: {", ".join(map(repr, allowed))}.'
            f'{nearest(str(arguments[key]), allowed)}'
            for key, allowed in {**cls.CHOICES, 'answers': ANSWERS}.items()
            if key in arguments and arguments[key] not in allowed
        ]

    @classmethod
    def check_choices(cls, **given: str) -> None:
        """Raise a ConfigError for a value outside :attr:`CHOICES`."""
        faults = cls.argument_faults(given)
        if faults:
            raise ConfigError(faults)

    @property
    def wording(self) -> Wording:
        """``bare`` and ``rejection``, for :func:`lisa_mm.datasets.asking.ask_about`."""
        return Wording(self.bare, self.rejection)

    @property
    def title(self) -> str:
        """Name of the data set in logs and reports."""
        return type(self).__name__

    @abstractmethod
    def load_data_list(self) -> list[dict[str, Any]]:
        """Checked records of JSON types with ``sample_id``, ``img_path`` (None: text alone) and the fields :meth:`ask` needs.

        Read each record inside :meth:`guarded`; count records without anything to ask by :meth:`leave_out`.
        """

    @abstractmethod
    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        """Conversations and masks of a record; all randomness comes from ``rng``."""

    def controls(self) -> tuple[str, ...]:
        """Values of the argument ``control`` that ask other questions than the record's, to see whether a model listens."""
        return ()

    def objects(self, record: dict[str, Any]) -> list[EncodedMask]:
        """Encoded masks of all objects of a record's image that are known, also those that are not asked for; by default none."""
        del record
        return []

    def source_files(self) -> list[Path] | None:
        """Files and folders that the index depends on; None (the default) keeps no index on disk."""
        return None

    def changed_files(self) -> list[Path]:
        """Files of :meth:`source_files` that have changed since the data set was loaded; empty where they are not known."""
        return self.loaded_state.changed(self.source_files() or []) if self.loaded_state is not None else []

    def rows(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """All possible questions about a record, in the simple schema.

        Each has ``phrase``, ``question`` or ``turns`` (with ``system`` if it has one), and its encoded ``masks``.

        By default, one draw of :meth:`ask`.
        """
        asked = self.ask(record, np.random.default_rng(0))
        rows, used = [], 0
        for turns in asked.conversations:
            count = sum(count_masks(question + (answer or ''), self.mask_tokens) for question, answer in turns)
            system = asked.systems[len(rows)] if asked.systems else None
            row = {'turns': [list(turn) for turn in turns], 'masks': asked.masks[used : used + count]}
            rows.append(row if system is None else {'system': system, **row})
            used += count
        return rows

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Wraps the reading of one record: its DataError is kept, and all errors are raised at once at the end."""
        try:
            yield
        except DataError as error:
            self.faults.append(error)

    def leave_out(self, reason: str) -> None:
        """Count a valid record that has nothing to train on."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def full_init(self) -> None:
        """Open the index on disk, or build it and keep it there."""
        if self._fully_initialized:
            return
        path, stamp = self._cache()
        index = RecordIndex.open(path, stamp) if path else None
        if index is None:
            self.data_list = self.load_data_list()
            self._judge_faults()
            self.data_list = self.filter_data()
            if self._indices is not None:
                self.data_list = self._get_unserialized_subset(self._indices)
            index = RecordIndex.from_records(self.data_list, self.left_out, self.notes)
            self.data_list = []
            if path:
                self._keep(index, path, stamp)
        self.index = index
        self.left_out, self.notes = index.left_out, Counter(index.notes)
        for note, count in self.notes.items():
            print_log(f'{self.title}: {note} ({count})', logger='current', level=logging.WARNING)
        for reason, count in self.left_out.items():
            print_log(f'{self.title}: {count} left out: {reason}', logger='current')
        self._fully_initialized = True

    def _cache(self) -> tuple[Path | None, str]:
        files = self.source_files()
        self.loaded_state = None if files is None else FileState.of(files)
        if self.loaded_state is None or not self.cache_index:
            return None, ''
        simple = (str, int, float, bool, list, tuple, type(None))
        arguments = {key: value for key, value in vars(self).items() if key not in NOT_THE_INDEX and isinstance(value, simple)}
        arguments['data_root'] = str(Path(self.data_root).resolve())
        return cache_path({'class': type(self).__name__, **arguments}), self.loaded_state.fingerprint

    def _keep(self, index: RecordIndex, path: Path, stamp: str) -> None:
        try:
            index.save(path, stamp)
        except OSError as error:
            print_log(f'{self.title}: the index is not kept ({error}); it is made anew each time', 'current', logging.WARNING)

    def _judge_faults(self) -> None:
        if not self.faults:
            return
        if self.skip_bad and self.data_list:
            reason = 'broken (skip_bad=True)'
            self.left_out[reason] = len(self.faults)
            for fault in self.faults[:FAULTS_SHOWN]:
                print_log(f'{self.title}: left out: {fault}', logger='current', level=logging.WARNING)
            return
        shown = '\n'.join(str(fault) for fault in self.faults[:FAULTS_SHOWN])
        rest = len(self.faults) - FAULTS_SHOWN
        first = self.faults[0]
        raise DataError(shown + (f'\n... and {rest} more' if rest > 0 else ''), file=first.file, record=first.record)

    def filter_data(self) -> list[dict[str, Any]]:
        """mmengine's step after loading: nothing is filtered, but an empty data set is refused."""
        if not self.data_list:
            reasons = ''.join(f' {count} left out: {reason}.' for reason, count in self.left_out.items())
            raise DataError(
                f'{self.title} at {self.data_root!r} is empty: no record was found.{reasons} Look at data_root and split.',
                file=self.data_root,
            )
        return self.data_list

    def restrict(self, numbers: Sequence[int] | np.ndarray, reason: str) -> None:
        """Keep only these records; count the others as left out.

        Raises:
            DataError: if none remains.
        """
        gone = len(self) - len(numbers)
        if gone:
            self.left_out = {**self.left_out, reason: self.left_out.get(reason, 0) + gone}
        if not len(numbers):
            raise DataError(f'{self.title} at {self.data_root!r} has no record left: all {gone} are left out, {reason}.')
        self.index = self.index.select(np.asarray(numbers, dtype=np.int64))
        self._order = None

    def __len__(self) -> int:
        self.full_init()
        return len(self.index)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Record ``idx`` as :meth:`load_data_list` returned it."""
        self.full_init()
        return {**self.index[idx], 'sample_idx': idx}

    def record_index(self, n: int) -> int:
        """The number of the record behind item ``n``."""
        if self.test_mode:
            return n
        turn, position = divmod(n, len(self))
        if self._order is None or self._order[0] != turn:
            self._order = (turn, np.random.default_rng([self.seed, turn, 0]).permutation(len(self)))
        return int(self._order[1][position])

    def __getitem__(self, n: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, n, 1])
        record = self.get_data_info(self.record_index(n))
        asked = self.ask(record, rng)
        return self.pipeline(  # type: ignore - Compose is typed to return None too
            {
                'sample_id': record['sample_id'],
                'img_path': record['img_path'],
                'conversations': asked.conversations,
                'systems': asked.systems,
                'facts': asked.facts,
                'encoded_masks': asked.masks,
                'test_mode': self.test_mode,
                'answers': self.answers if self.test_mode else 'given',
                'rng': rng,
                **{k: v for k, v in record.items() if k == 'metainfo'},
            }
        )


def build_transforms(pipeline: Sequence[Any] | None) -> list[Any]:
    """Build a pipeline's transforms from this package's registry (and its parents), for any default scope of mmengine."""
    return [TRANSFORMS.build(transform) if isinstance(transform, dict) else transform for transform in pipeline or []]


def check_file(path: Path, what: str, where: str) -> None:
    """Raise a DataError if a file is missing."""
    if not path.is_file():
        raise DataError(f'{where}: {what} {path} is missing. Put it there or take the record out.', file=path, record=where)
