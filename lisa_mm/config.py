"""Configs: the only way in for every tool, and what follows from them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.utils import import_modules_from_strings

from .config_edits import RUNNER_KEYS, apply_option, apply_swap
from .config_files import drop_replaced_parts, flattened, follow_types
from .errors import ConfigError, UserError, nearest
from .registry import (
    DATASETS,
    LOOPS,
    LOSSES,
    MASK_DECODERS,
    METRICS,
    MLLMS,
    SEG_HEADS,
    STRATEGIES,
    TRANSFORMS,
    check_arguments,
    takes,
)

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(path: str | Path, swaps: Iterable[str] = (), options: Iterable[str] = ()) -> Config:
    """Read a config, run its ``custom_imports``, apply whole-part swaps, then options.

    Args:
        path: A config file.
        swaps: ``part=name``: takes the whole part from ``configs/_base_/<part>s/<name>.py``.
        options: ``key.sub=value``; values are Python literals, anything else is a string.

    Returns:
        The source, with nothing derived yet: what a work folder keeps.

    Raises:
        ConfigError: for an unknown file, a misspelt key, or an option that changes nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'{path}: no such config. lisa_mm.get_config(NAME) gives the path of one that ships with the package.')
    content = with_here(flattened(path, read_file), path.resolve().parent)
    imports = content.get('custom_imports')
    if imports:
        import_modules_from_strings(**imports)
    check_top_level(content, str(path))
    source = {key: value for key, value in content.items() if key in RUNNER_KEYS}
    for swap in swaps:
        apply_swap(source, swap, path)
    for option in options:
        before = copy.deepcopy(source)
        apply_option(source, option)
        follow_types(before, source, f'--cfg-options {option}')
    return Config(source)


def read_file(path: Path) -> dict[str, Any]:
    """The content of a config file whose bases, if any, are of its own style."""
    try:
        return Config.fromfile(path).to_dict()
    except (SyntaxError, NameError) as error:
        raise ConfigError(f'{path} is no valid config: {error}') from error


def with_here(node: Any, folder: Path) -> Any:
    """``here://NAME`` -> a path beside the config, so that a folder with its config may be moved."""
    if isinstance(node, dict):
        return {key: with_here(value, folder) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(with_here(value, folder) for value in node)
    if isinstance(node, str) and node.startswith('here://'):
        return str(folder / node.removeprefix('here://'))
    return node


def check_top_level(content: Mapping[str, Any], where: str) -> None:
    """Names that are no runner key are variables and dropped; one that is nearly a runner key is a mistake."""
    faults = []
    for key in content:
        if key not in RUNNER_KEYS:
            close = difflib.get_close_matches(key, RUNNER_KEYS - set(content), n=1, cutoff=0.85)
            if close:
                faults.append(
                    f'{where}: {key!r} is no key of a config. Did you mean {close[0]!r}? A variable needs another name.'
                )
    if 'model' not in content:
        faults.append(f"{where}: 'model' is missing.")
    if faults:
        raise ConfigError(faults)


def compile_config(source: Config) -> Config:
    """Fill in what follows from the parts; pure, without weights or data.

    Builds the parts on the meta device and hands to data sets, transforms, collation and schedules what the parts say of
    themselves.

    Raises:
        ConfigError: all faults at once.
    """
    return compile_with_model(source)[0]


def compile_with_model(source: Config) -> tuple[Config, Any]:
    """As :func:`compile_config`, and the model on the meta device."""
    config = Config(with_weights(copy.deepcopy(source.to_dict())))
    faults: list[str] = []
    derived, built = derive_from_model(config.model, faults)
    for name in DATALOADERS:
        loader = config.get(name)
        if loader:
            compile_dataloader(loader, derived, config.get('data_root'), name, faults)
    for name in ('val_evaluator', 'test_evaluator'):
        for number, metric in enumerate(as_list(config.get(name))):
            check_part(METRICS, metric, f'{name}[{number}]', faults)
    if config.get('train_cfg'):
        given = {**config.train_cfg.to_dict(), 'runner': None, 'dataloader': None}  # the runner gives these two
        check_part(LOOPS, given, 'train_cfg', faults)
    if config.get('strategy'):
        check_part(STRATEGIES, config.strategy, 'strategy', faults)
    for scheduler in as_list(config.get('param_scheduler')):
        fill(scheduler, {'total_iters': (config.get('train_cfg') or {}).get('max_iters')}, 'param_scheduler', faults)
    if faults:
        raise ConfigError(faults)
    return config, built


def with_weights(node: Any) -> Any:
    """``weights://NAME`` -> the path of weights that ship with the package."""
    from . import PACKAGE_DIR

    if isinstance(node, dict):
        return {key: with_weights(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(with_weights(value) for value in node)
    if isinstance(node, str) and node.startswith('weights://'):
        return str(PACKAGE_DIR / 'weights' / node.removeprefix('weights://'))
    return node


def derive_from_model(model: ConfigDict, faults: list[str]) -> tuple[dict[str, Any], Any]:
    """Build the model's parts on the meta device; what the pipelines need, by argument name, and the model (None with faults)."""
    from .models import LISA
    from .models.token_ids import token_ids
    from .models.weights import shapes_only

    collect(faults, lambda: check_arguments(LISA, {k: v for k, v in model.items() if k != 'type'}, 'model'))
    if model.get('type') != 'LISA':
        faults.append(f"model.type is {model.get('type')!r}; allowed: 'LISA'.")
    parts, built, ids = {}, None, None
    with shapes_only():
        for key, registry in (('mllm', MLLMS), ('mask_decoder', MASK_DECODERS)):
            if key in model:
                collect(faults, lambda r=registry, k=key: drop_replaced_parts(r, model[k], f'model.{k}'))
                parts[key] = collect(faults, lambda r=registry, k=key: r.build(model[k]))
        for name, loss in (model.get('losses') or {}).items():
            collect(faults, lambda loss=loss: LOSSES.build(loss), f'model.losses.{name}: ')
        if 'seg_head' in model:
            collect(faults, lambda: SEG_HEADS.lookup(model.seg_head.get('type')), 'model.seg_head: ')
        if parts.get('mllm') is not None:
            ids = collect(faults, lambda: token_ids(parts['mllm']))
        if not faults:
            built = collect(faults, lambda: LISA(**{**{k: v for k, v in model.items() if k != 'type'}, **parts}))
    mllm, decoder = parts.get('mllm'), parts.get('mask_decoder')
    derived: dict[str, Any] = {}
    if mllm is not None:
        derived |= {
            'vision_preprocess': mllm.preprocess,
            'tokenizer': mllm.tokenizer_spec,
            'num_image_tokens': None if mllm.tokens_by_image else mllm.num_image_tokens(0, 0),
        }
        derived['pad_token_id'] = ids.pad if ids else None
    if decoder is not None:
        derived['mask_preprocess'] = decoder.preprocess
    return derived, built


def compile_dataloader(loader: Any, derived: dict[str, Any], data_root: str | None, where: str, faults: list[str]) -> None:
    """Fill a dataloader's data sets, transforms and collation."""
    for dataset, path in datasets_in(loader.get('dataset'), f'{where}.dataset'):
        if data_root and 'data_root' not in dataset and takes(DATASETS, dataset, 'data_root'):
            dataset['data_root'] = data_root
        for number, transform in enumerate(dataset.get('pipeline') or []):
            spot = f'{path}.pipeline[{number}]'
            accepted = {k: v for k, v in derived.items() if takes(TRANSFORMS, transform, k)}
            fill(transform, accepted, spot, faults)
            check_part(TRANSFORMS, transform, spot, faults)
        check_part(DATASETS, dataset, path, faults)
    collate = loader.get('collate_fn')
    if collate and collate.get('type') == 'seg_collate' and 'pad_token_id' in derived:
        fill(collate, {'pad_token_id': derived['pad_token_id']}, f'{where}.collate_fn', faults)


def datasets_in(node: Any, path: str) -> Iterator[tuple[Any, str]]:
    """A data set and those it is made of or keeps clear of: lists of them, or lists by group."""
    if not isinstance(node, dict):
        return
    yield node, path
    for key in ('datasets', 'exclude_val'):
        children = node.get(key) or []
        named = children.items() if isinstance(children, dict) else [('', children)]
        for name, group in named:
            for number, child in enumerate(group or []):
                yield from datasets_in(child, f'{path}.{key}{"." + name if name else ""}[{number}]')


def fill(part: Any, values: Mapping[str, Any], where: str, faults: list[str]) -> None:
    """Write derived values; a written one that differs is a fault."""
    for key, value in values.items():
        if value is None:
            continue
        if key in part and part[key] != value:
            faults.append(f'{where}.{key} is {part[key]!r}, but it follows from the other parts as {value!r}. Leave it out.')
        part[key] = value


def check_part(registry: Any, part: Any, where: str, faults: list[str]) -> None:
    """Type and arguments of a part from one of mmengine's registries."""
    name = part.get('type')
    cls = name if isinstance(name, type) else registry.get(name) if name else None
    if cls is None:
        registry.import_from_location()
        faults.append(f'{where}: {name!r} is no registered {registry.name}.{nearest(str(name), registry.module_dict)}')
        return
    collect(faults, lambda: check_arguments(cls, {k: v for k, v in part.items() if k != 'type'}, where))


def collect(faults: list[str], action: Callable[[], Any], prefix: str = '') -> Any:
    """Run and keep the user's faults; None then."""
    try:
        return action()
    except ConfigError as error:
        faults += [prefix + fault for fault in error.faults if prefix + fault not in faults]
    except UserError as error:
        faults.append(prefix + str(error))
    return None


def as_list(value: Any) -> Sequence[Any]:
    """None, one or several."""
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]


def derived_values(source: Config, compiled: Config) -> list[tuple[str, Any]]:
    """Key and value of everything that compilation added or replaced."""

    def walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(new, dict) and isinstance(old, dict):
            for key, value in new.items():
                yield from walk(old.get(key), value, f'{path}.{key}' if path else str(key))
        elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
            for number, (before, after) in enumerate(zip(old, new, strict=True)):
                yield from walk(before, after, f'{path}[{number}]')
        elif old != new:
            yield path, new

    return list(walk(source.to_dict(), compiled.to_dict(), ''))
