"""The key ``cache_features`` of a config: checked, and turned into the hook that does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from ..registry import HOOKS
from .checks import as_list, check_part, collect

if TYPE_CHECKING:
    from ..models import LISA

KEY, HOOK = 'cache_features', 'FeatureCacheHook'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def compile_feature_cache(config: Config, model: LISA | None, faults: list[str]) -> None:
    """Replace ``cache_features`` by its hook in ``custom_hooks``.

    Args:
        config: Changed in place.
        model: The model on the meta device; None if it has faults.
        faults: Receives the faults.
    """
    given = config.pop(KEY, None)
    if given is None or given is False:
        return
    if given is not True and not isinstance(given, dict):
        faults.append(f"{KEY} is {given!r}; give True, False, or dict(folder=..., dtype='float16', max_gib=...).")
        return
    hook = {'type': HOOK, **({} if given is True else given)}
    from ..datasets.transforms.cached import cached_steps

    before = len(faults)
    cls = check_part(HOOKS, hook, KEY, faults, build=True)
    if len(faults) > before or cls is None:
        return
    faults += cls.strategy_faults(config.get('strategy') or {})
    if model is not None:
        faults += _nothing_to_keep(model)
    for loader in LOADERS:
        for pipeline, where in _pipelines((config.get(loader) or {}).get('dataset'), f'{loader}.dataset'):
            collect(faults, lambda pipeline=pipeline: cached_steps(pipeline), f'{where}: ')
    config.custom_hooks = [*as_list(config.get('custom_hooks')), hook]


def _nothing_to_keep(model: LISA) -> Iterator[str]:
    from ..models.frozen_features import frozen_encoders

    found, reasons = frozen_encoders(model)
    if not found:
        why = '; '.join(reasons.values())
        yield f'{KEY} has no features to keep: {why}. Leave {KEY} out, or freeze one of them.'


def _pipelines(dataset: Any, where: str) -> Iterator[tuple[list[Any], str]]:
    """The pipelines of a data set that is written, and of those inside it."""
    if not isinstance(dataset, Mapping):
        return
    if dataset.get('pipeline'):
        yield dataset['pipeline'], f'{where}.pipeline'
    children = dataset.get('datasets') or []
    for number, child in enumerate(children if isinstance(children, (list, tuple)) else ()):
        yield from _pipelines(child, f'{where}.datasets[{number}]')
    yield from _pipelines(dataset.get('dataset'), f'{where}.dataset')
