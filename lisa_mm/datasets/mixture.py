"""The training mixture: draws a group by its rate, then a data set and an image uniformly at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset

from ..errors import ConfigError, nearest
from ..registry import DATASETS
from .base import BaseSegDataset, build_transforms
from .leaks import ImageSet, exclude

RATES = {'sem_seg': 9, 'refer_seg': 3, 'vqa': 3, 'reason_seg': 1}  # rates of the published recipe


def shares(datasets: Mapping[str, Any], rates: Mapping[str, float] | None) -> dict[str, float]:
    """Each group's share of the draws, for groups with data sets and a rate above 0: the recipe's groups first."""
    wanted = {**RATES, **(rates or {})}
    used = [group for group in dict.fromkeys([*RATES, *datasets]) if datasets.get(group) and wanted[group] > 0]
    total = sum(wanted[group] for group in used)
    return {group: wanted[group] / total for group in used}


@DATASETS.register_module()
class MixtureDataset(Dataset):
    """Draws a group by its rate, a data set of the group, and an image of the data set.

    Item ``n`` is a pure function of (seed, n), independent of workers, ranks and resumes, and as fast at n = 4,000,000 as at 0:
    the draw selects a data set, and the item is that data set's own item ``n``.

    Args:
        datasets: Group -> list of data sets; an empty group is left out. The recipe's groups are 'sem_seg', 'refer_seg', 'vqa'
            and 'reason_seg'; any others may be added.
        rates: Group -> rate of the draws. The recipe's groups default to 9 : 3 : 3 : 1; other groups need a rate.
        exclude_val: Evaluation data sets; training images that occur in one of them, by image id or content, are removed.
        pipeline: Transforms of every sample; the data sets have no pipeline of their own.
        seed: Seed of the draws, and of data sets without a seed of their own.

    Raises:
        ConfigError: for a group without a rate, a rate that is not a number >= 0, or a data set with a pipeline of its own.
    """

    def __init__(
        self,
        datasets: Mapping[str, list[Any]],
        *,
        rates: Mapping[str, float] | None = None,
        exclude_val: list[Any] | None = None,
        pipeline: list[Any] | None = None,
        seed: int = 0,
    ):
        faults = self.argument_faults({'datasets': datasets, 'rates': rates})
        if faults:
            raise ConfigError(faults)
        self.seed = seed
        self.shares = shares(datasets, rates)
        self.groups = {group: [self._build(entry, seed, group) for entry in datasets[group]] for group in self.shares}
        self.pipeline = Compose(build_transforms(pipeline))
        self.excluded = self._exclude(exclude_val or [])
        self._edges = np.cumsum(list(self.shares.values()))

    @classmethod
    def argument_faults(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Faults of the arguments that can be found before data is read."""
        datasets, rates = arguments.get('datasets') or {}, arguments.get('rates') or {}
        faults = [
            f'MixtureDataset.datasets.{group} has no rate: give rates={{{group!r}: ...}}, beside 9 for sem_seg, 3 for refer_seg '
            f'and vqa, 1 for reason_seg.{nearest(group, RATES)}'
            for group in datasets
            if group not in RATES and group not in rates
        ]
        known = [*RATES, *datasets]
        faults += [
            f'MixtureDataset.rates.{group}: datasets has no such group.{nearest(group, known)}'
            for group in rates
            if group not in known
        ]
        for group, rate in rates.items():
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate < 0:
                faults.append(f'MixtureDataset.rates.{group} is {rate!r}; it must be a number >= 0.')
        for group, entries in datasets.items():
            faults += [
                f'MixtureDataset.datasets.{group}: {entry.get("type")} has a pipeline of its own: take it out.'
                for entry in entries
                if isinstance(entry, dict) and entry.get('pipeline')
            ]
        if not faults and not shares(datasets, rates):
            faults.append(
                f'MixtureDataset has no data set in datasets={dict.fromkeys(datasets)}, rates={dict(rates)}: '
                'give at least one group a data set and a rate above 0.'
            )
        return faults

    @staticmethod
    def _build(entry: BaseSegDataset | dict[str, Any], seed: int, group: str) -> BaseSegDataset:
        if isinstance(entry, BaseSegDataset):
            return entry
        built = DATASETS.build({'seed': seed, **entry})
        if not isinstance(built, BaseSegDataset):
            raise ConfigError(f'MixtureDataset.datasets.{group}: {entry["type"]} does not derive from BaseSegDataset.')
        return built

    def _exclude(self, evaluation: list[Any]) -> dict[str, int]:
        """Remove held-out images from every data set; data set -> how many."""
        if not evaluation:
            return {}
        held_out, titles = ImageSet(), []
        for entry in evaluation:
            dataset = entry if isinstance(entry, BaseSegDataset) else DATASETS.build({'test_mode': True, **entry})
            held_out.add(dataset)
            titles.append(dataset.title)
        gone = {}
        for dataset in self.members():
            counts = exclude(dataset, held_out, titles)
            gone[dataset.title] = sum(counts.values())
            details = ', '.join(f'{count} by {how}' for how, count in counts.items()) or 'none'
            print_log(f'exclude_val: {dataset.title}: {details} of {len(dataset) + gone[dataset.title]} left out', 'current')
        return gone

    def members(self) -> list[BaseSegDataset]:
        """All data sets, in the order of the groups."""
        return [dataset for group in self.groups.values() for dataset in group]

    @property
    def metainfo(self) -> dict[str, Any]:
        """mmengine asks for it."""
        return {}

    def full_init(self) -> None:
        """Nothing to do: the members are already loaded."""

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.members())

    def draw(self, n: int) -> tuple[str, BaseSegDataset]:
        """Group and data set of item ``n``."""
        rng = np.random.default_rng([self.seed, n, 2])
        names = list(self.groups)
        group = names[min(int(np.searchsorted(self._edges, rng.random(), side='right')), len(names) - 1)]
        members = self.groups[group]
        return group, members[int(rng.integers(len(members)))]

    def __getitem__(self, n: int) -> Any:
        group, dataset = self.draw(n)
        return self.pipeline({**dataset[n], 'group': group, 'source': dataset.title})
