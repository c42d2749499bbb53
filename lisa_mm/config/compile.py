"""Compile configs: fill in what follows from their parts. Every tool goes through here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import ConfigError
from ..registry import DATASETS, LOOPS, LOSSES, MASK_DECODERS, MLLMS, SEG_HEADS, TRANSFORMS, check_arguments, takes
from .checks import (
    check_dataset,
    check_hooks,
    check_loader,
    check_logging,
    check_metrics,
    check_named_files,
    check_optimizer,
    check_part,
    check_rejection,
    check_schedules,
    check_strategy,
    collect,
    fill,
)
from .feature_cache import compile_feature_cache
from .files import drop_replaced_parts

DERIVED = {'vision_preprocess', 'tokenizer', 'mask_preprocess'}  # arguments of transforms that come from the model's parts
DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def compile_config(source: Config) -> Config:
    """Fill in the values that follow from the parts; a pure function, without weights or data.

    Builds the parts on the meta device and passes their properties to data sets, transforms, collation and
    schedules.

    Raises:
        ConfigError: all faults at once.
    """
    return compile_with_model(source)[0]


def compile_with_model(source: Config) -> tuple[Config, Any]:
    """Like :func:`compile_config`, but also returns the model on the meta device."""
    config = Config(with_weights(copy.deepcopy(source.to_dict())))
    faults: list[str] = []
    derived, built = derive_from_model(config.model, faults)
    for name in DATALOADERS:
        loader = config.get(name)
        if loader:
            compile_dataloader(loader, derived, config.get('data_root'), name, faults)
    if config.get('train_cfg'):
        given: dict[str, Any] = {'runner': None, 'dataloader': config.get('train_dataloader')}  # the runner supplies these two
        check_part(LOOPS, config.train_cfg, 'train_cfg', faults, **given)
    check_named_files(config, faults)
    for split in ('val', 'test'):
        if (config.get(f'{split}_cfg') or {}).get('type'):
            given = {'runner': None, 'dataloader': None, 'evaluator': None}
            check_part(LOOPS, config[f'{split}_cfg'], f'{split}_cfg', faults, **given)
    check_metrics(config, faults)
    check_strategy(config, faults)
    check_schedules(config, faults)
    check_hooks(config, faults)
    check_logging(config, faults)
    check_optimizer(config, built, faults)
    compile_feature_cache(config, built, faults)
    if faults:
        raise ConfigError(faults)
    return config, built


def with_weights(node: object) -> Any:
    """``weights://NAME`` -> the path of weights shipped with the package."""
    from .. import PACKAGE_DIR

    if isinstance(node, dict):
        return {key: with_weights(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(with_weights(value) for value in node)
    if isinstance(node, str) and node.startswith('weights://'):
        return str(PACKAGE_DIR / 'weights' / node.removeprefix('weights://'))
    return node


def derive_from_model(model: ConfigDict, faults: list[str]) -> tuple[dict[str, Any], Any]:
    """Build the model's parts on the meta device; returns the pipelines' arguments by name, and the model (None with faults)."""
    from ..models import model_class
    from ..models.phases import shapes_only
    from ..models.token_ids import token_ids
    from ..tokens import MASK_TOKENS

    cls = collect(faults, lambda: model_class(model.get('type')))
    if cls is not None:
        collect(faults, lambda: check_arguments(cls, {k: v for k, v in model.items() if k != 'type'}, 'model'))
    parts, built, ids = {}, None, None
    with shapes_only():
        for key, registry in (('mllm', MLLMS), ('mask_decoder', MASK_DECODERS)):
            if key in model:
                collect(faults, lambda r=registry, k=key: drop_replaced_parts(r, model[k], f'model.{k}'))
                parts[key] = collect(faults, lambda r=registry, k=key: r.build(model[k]))
        for name, loss in (model.get('losses') or {}).items():
            if loss is None:
                continue
            collect(faults, lambda loss=loss: LOSSES.build(loss), f'model.losses.{name}: ')
        if 'seg_head' in model:
            collect(faults, lambda: SEG_HEADS.lookup(model.seg_head.get('type')), 'model.seg_head: ')
        if parts.get('mllm') is not None:
            ids = collect(faults, lambda: token_ids(parts['mllm']))
        if cls is not None and not faults:
            built = collect(faults, lambda: cls(**{**{k: v for k, v in model.items() if k != 'type'}, **parts}))
    mllm, decoder = parts.get('mllm'), parts.get('mask_decoder')
    derived: dict[str, Any] = {}
    if mllm is not None:
        derived |= {
            'vision_preprocess': mllm.preprocess,
            'tokenizer': mllm.tokenizer_spec,
            'num_image_tokens': None if mllm.tokens_by_image else mllm.num_image_tokens(0, 0),
        }
        derived['pad_token_id'] = ids.pad if ids else None
        if tuple(mllm.tokenizer_spec['mask_tokens']) != MASK_TOKENS:
            derived['mask_tokens'] = mllm.tokenizer_spec['mask_tokens']
    if decoder is not None:
        derived['mask_preprocess'] = decoder.preprocess
    return derived, built


def compile_dataloader(
    loader: dict[str, Any], derived: dict[str, Any], data_root: str | None, where: str, faults: list[str]
) -> None:
    """Fill a dataloader's data sets, transforms and collation."""
    for dataset, path in datasets_in(loader.get('dataset'), f'{where}.dataset'):
        for number, transform in enumerate(dataset.get('pipeline') or []):
            spot = f'{path}.pipeline[{number}]'
            accepted = {k: v for k, v in derived.items() if takes(TRANSFORMS, transform, k)}
            fill(transform, accepted, spot, faults)
            # a faulty part derives nothing and is already reported: don't report its missing arguments too
            unknown = {k: {} for k in DERIVED - set(derived) - set(transform) if takes(TRANSFORMS, transform, k)}
            check_part(TRANSFORMS, transform, spot, faults, build=not unknown, **unknown)
        if 'mask_tokens' in derived and takes(DATASETS, dataset, 'mask_tokens'):
            fill(dataset, {'mask_tokens': derived['mask_tokens']}, path, faults)
        check_dataset(dataset, path, data_root, faults)
        if 'tokenizer' in derived:
            check_rejection(dataset, path, derived['tokenizer']['answer_tokens'], faults)
    collate = loader.get('collate_fn')
    if collate and collate.get('type') == 'seg_collate' and 'pad_token_id' in derived:
        fill(collate, {'pad_token_id': derived['pad_token_id']}, f'{where}.collate_fn', faults)
    check_loader(loader, where, faults)


def datasets_in(node: object, path: str) -> Iterator[tuple[Any, str]]:
    """A data set with its members and the data sets it excludes, which may be lists or lists by group."""
    if not isinstance(node, dict):
        return
    yield node, path
    for key in ('datasets', 'exclude_val'):
        children = node.get(key) or []
        named = children.items() if isinstance(children, dict) else [('', children)]
        for name, group in named:
            for number, child in enumerate(group or []):
                yield from datasets_in(child, f'{path}.{key}{"." + name if name else ""}[{number}]')


def derived_values(source: Config, compiled: Config) -> list[tuple[str, Any]]:
    """Key and value of everything that compiling added or replaced."""

    def walk(old: object, new: object, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(new, dict) and isinstance(old, dict):
            for key, value in new.items():
                yield from walk(old.get(key), value, f'{path}.{key}' if path else str(key))
        elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
            for number, (before, after) in enumerate(zip(old, new, strict=True)):
                yield from walk(before, after, f'{path}[{number}]')
        elif old != new:
            yield path, new

    return list(walk(source.to_dict(), compiled.to_dict(), ''))
