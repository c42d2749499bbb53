"""What every data set of segmentation conversations shares."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import ConfigError, DataError
from .conversation import Turn


@dataclass
class Asked:
    """What is asked about one image.

    Args:
        conversations: One list of (question, answer) a row.
        masks: Encoded, one a ``[SEG]``, in the order of the rows.
    """

    conversations: list[list[Turn]]
    masks: list[dict[str, Any]]


class BaseSegDataset(BaseDataset):
    """One sample = one image, its conversations, its masks still encoded.

    In training, item ``n`` of an endless sequence is a pure function of (seed, n): which image, which texts, which templates.
    Every image comes once before any comes twice. In testing, item ``n`` is record ``n``.

    Args:
        data_root: Root folder as the original's ``--dataset_dir``.
        pipeline: Transforms, dict -> dict.
        seed: Of the sampling.
        test_mode: Validation or testing.
        indices: The first so many records, or a list of them.
    """

    METAINFO = {}

    def __init__(
        self,
        data_root: str = '',
        *,
        pipeline: list[Any] | None = None,
        seed: int = 0,
        test_mode: bool = False,
        indices: int | list[int] | None = None,
    ):
        self.seed = seed
        if data_root and not Path(data_root).is_dir():
            raise DataError(
                f'data_root {data_root!r} is no folder. Give --cfg-options data_root=DIR, or make the demo: tools/make_demo.py.'
            )
        super().__init__(
            data_root=data_root,
            data_prefix={},
            pipeline=pipeline or [],
            test_mode=test_mode,
            indices=indices,
            serialize_data=True,
        )

    def filter_data(self) -> list[dict[str, Any]]:
        """mmengine's step after loading: nothing is filtered, but an empty data set is refused."""
        if not self.data_list:
            raise DataError(
                f'{type(self).__name__} at {self.data_root!r} is empty: no record was found. Look at data_root and split.'
            )
        return self.data_list

    @abstractmethod
    def load_data_list(self) -> list[dict[str, Any]]:
        """Records with ``sample_id``, ``img_path`` and what :meth:`ask` needs, checked."""

    @abstractmethod
    def ask(self, record: dict[str, Any], rng: np.random.Generator) -> Asked:
        """Conversations and masks of a record; all randomness comes from ``rng``."""

    def record_index(self, n: int) -> int:
        """Which record item ``n`` is."""
        if self.test_mode:
            return n
        turn, position = divmod(n, len(self))
        return int(np.random.default_rng([self.seed, turn, 0]).permutation(len(self))[position])

    def __getitem__(self, n: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, n, 1])
        record = self.get_data_info(self.record_index(n))
        asked = self.ask(record, rng)
        return self.pipeline(  # type: ignore
            {
                'sample_id': record['sample_id'],
                'img_path': record['img_path'],
                'conversations': asked.conversations,
                'encoded_masks': asked.masks,
                'test_mode': self.test_mode,
                'rng': rng,
                **{k: v for k, v in record.items() if k == 'metainfo'},
            }
        )


def check_file(path: Path, what: str, where: str) -> None:
    """Raise a DataError if a file is missing."""
    if not path.is_file():
        raise DataError(f'{where}: {what} {path} is missing. Put it there or take the record out.')


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ConfigError for a value that is not allowed."""
    if value not in allowed:
        raise ConfigError(f'{name} is {value!r}; allowed: {", ".join(map(repr, allowed))}.')
