"""Benchmarks by name: which data sets they have, and which metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from ..config.edits import base_files
from ..datasets.base import BaseSegDataset
from ..errors import ConfigError, DataError, nearest
from ..evaluation.base import JudgedMetric
from ..registry import DATASETS, METRICS

FOLDER = 'benchmarks'  # of _base_
KEYS = {'title', 'splits', 'metrics'}


@dataclass(frozen=True)
class Split:
    """One data set of a benchmark.

    Args:
        benchmark: Name of the benchmark.
        title: Its name in tables.
        name: Name of the split.
        dataset: Config of the data set, without pipeline.
        metrics: Configs of the metrics.
    """

    benchmark: str
    title: str
    name: str
    dataset: dict[str, Any]
    metrics: list[dict[str, Any]]

    def build_metrics(self) -> list[JudgedMetric]:
        """The metrics.

        Raises:
            ConfigError: for one that does not read judged questions.
        """
        built = [METRICS.build(dict(metric)) for metric in self.metrics]
        for metric in built:
            if not isinstance(metric, JudgedMetric):
                raise ConfigError(
                    f'{self.benchmark}: {type(metric).__name__} is no metric of a benchmark: it must be a subclass of '
                    'lisa_mm.evaluation.base.JudgedMetric.'
                )
        return built

    def build_dataset(self, **arguments: Any) -> BaseSegDataset | str:
        """The data set with further arguments, or the sentence that says which of its files is missing.

        Raises:
            DataError: for files that are there, and damaged.
        """
        try:
            dataset: BaseSegDataset = DATASETS.build({**arguments, **self.dataset})
            dataset.full_init()
        except DataError as error:
            if error.file and not Path(error.file).exists():
                return str(error).splitlines()[0]
            raise
        return dataset


def find_splits(names: Sequence[str], config: Path | None = None, imports: object = None) -> list[Split]:
    """The splits of benchmarks.

    Args:
        names: Names of files in ``_base_/benchmarks`` (beside the config, in an imported plugin, or shipped), or paths of such
            files; ``refcoco:testA`` takes one split.
        config, imports: See :func:`lisa_mm.config.edits.base_files`.

    Raises:
        ConfigError: for an unknown name or split, with the nearest ones, or a faulty file.
    """
    files = base_files(FOLDER, config, imports)
    found: dict[tuple[str, str], Split] = {}
    for given in names:
        is_path = given.partition(':')[0].endswith('.py')
        name, _, wanted = given.partition(':')
        path = Path(name) if is_path else files.get(name)
        if path is None or not path.is_file():
            raise ConfigError(f'benchmark {name!r} is unknown.{nearest(name, files)} They are: {", ".join(sorted(files))}.')
        splits = read_benchmark(path)
        chosen = [split for split in splits if wanted in ('', split.name)]
        if not chosen:
            known = [split.name for split in splits]
            raise ConfigError(f'benchmark {name!r} has no split {wanted!r}.{nearest(wanted, known)} It has: {", ".join(known)}.')
        found |= {(split.benchmark, split.name): split for split in chosen}
    return list(found.values())


def read_benchmark(path: Path) -> list[Split]:
    """The splits of a benchmark's file.

    Raises:
        ConfigError: if it sets no ``benchmark``, or one with other keys.
    """
    content = Config.fromfile(path).to_dict().get('benchmark')
    if not isinstance(content, dict) or set(content) != KEYS:
        raise ConfigError(
            f'{path}: write benchmark = dict(title=..., splits=dict(val=dict(type=...), ...), metrics=[dict(type=...)]) there; '
            f'it has {sorted(content) if isinstance(content, dict) else "no benchmark"}.'
        )
    for metric in content['metrics']:
        check_type(METRICS, metric, f'{path.stem}')
    for name, dataset in content['splits'].items():
        check_type(DATASETS, dataset, f'{path.stem} {name}')
    return [
        Split(path.stem, content['title'], name, dataset, list(content['metrics'])) for name, dataset in content['splits'].items()
    ]


def check_type(registry: Registry, part: Mapping[str, Any], where: str) -> None:
    """Raise a ConfigError if a part has no registered type."""
    name = part.get('type')
    if not isinstance(name, str) or registry.get(name) is None:
        raise ConfigError(f'{where}: type {name!r} is unknown.{nearest(str(name), registry.module_dict)}')


def known_benchmarks(config: Path | None = None, imports: object = None) -> Iterable[tuple[str, list[Split]]]:
    """Name and splits of every benchmark that :func:`find_splits` knows."""
    for name, path in sorted(base_files(FOLDER, config, imports).items()):
        yield name, read_benchmark(path)
