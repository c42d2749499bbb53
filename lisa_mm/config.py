"""Configs: the only way in for every tool, and what follows from them."""

from __future__ import annotations

import copy
import difflib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.utils import import_modules_from_strings

from .config_edits import RUNNER_KEYS, apply_option, apply_swap
from .config_files import drop_replaced_parts, flattened, follow_types
from .errors import ConfigError
from .registry import DATASETS, LOOPS, LOSSES, MASK_DECODERS, MLLMS, SEG_HEADS, TRANSFORMS, check_arguments, takes
from .runner_checks import (
    check_dataset,
    check_hooks,
    check_loader,
    check_metrics,
    check_optimizer,
    check_part,
    check_schedules,
    check_strategy,
    collect,
    fill,
)

DERIVED = {'vision_preprocess', 'tokenizer', 'mask_preprocess'}  # what transforms take of the model's parts
DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(path: str | Path, swaps: Iterable[str] = (), options: Iterable[str] = ()) -> Config:
    """Read a config, run its ``custom_imports``, apply whole-part swaps, then options.

    Args:
        path: A config file.
        swaps: ``part=name``: takes the whole part from ``configs/_base_/<folder>/<name>.py``; folders are mllms, vision_towers,
            projectors (none ships), language_models, mask_decoders, lora and strategies.
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
    run_imports(content.get('custom_imports'), path)
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
    """The content of a config file whose bases, if any, are of its own style; whatever stops the file is told with its line.

    Raises:
        ConfigError: for a file that does not run, or a base file that is not there.
    """
    try:
        return Config.fromfile(path).to_dict()
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).suffix == '.py']
        line = next((frame.lineno for frame in reversed(ours) if Path(frame.filename).resolve() == path.resolve()), None)
        line = error.lineno if isinstance(error, SyntaxError) else line
        where = f'{path}, line {line}' if line else str(path)
        raise ConfigError(f'{where} is no valid config: {type(error).__name__}: {error}. Correct it there.') from error


def run_imports(imports: Any, path: Path) -> None:
    """Import the plugins that a config names in ``custom_imports``."""
    if not imports:
        return
    if not isinstance(imports, dict) or set(imports) - {'imports', 'allow_failed_imports'} or 'imports' not in imports:
        raise ConfigError(f"{path}: custom_imports is {imports!r}; give custom_imports=dict(imports=['my_package']).")
    try:
        import_modules_from_strings(**imports)
    except ImportError as error:
        raise ConfigError(
            f'{path}: custom_imports {imports["imports"]!r} cannot be imported ({error}). '
            'Install the package (pip install -e DIR), or put its folder on PYTHONPATH.'
        ) from error


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
            # also beside the right key: a base gives that one, and the leaf's value would be dropped in silence
            close = difflib.get_close_matches(key, RUNNER_KEYS, n=1, cutoff=0.85)
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
    if config.get('train_cfg'):
        given = {'runner': None, 'dataloader': config.get('train_dataloader')}  # the runner gives these two
        check_part(LOOPS, config.train_cfg, 'train_cfg', faults, **given)
    check_metrics(config, faults)
    check_strategy(config, faults)
    check_schedules(config, faults)
    check_hooks(config, faults)
    check_optimizer(config, built, faults)
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
    from .models import model_class
    from .models.token_ids import token_ids
    from .models.weights import shapes_only
    from .tokens import MASK_TOKENS

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


def compile_dataloader(loader: Any, derived: dict[str, Any], data_root: str | None, where: str, faults: list[str]) -> None:
    """Fill a dataloader's data sets, transforms and collation."""
    for dataset, path in datasets_in(loader.get('dataset'), f'{where}.dataset'):
        for number, transform in enumerate(dataset.get('pipeline') or []):
            spot = f'{path}.pipeline[{number}]'
            accepted = {k: v for k, v in derived.items() if takes(TRANSFORMS, transform, k)}
            fill(transform, accepted, spot, faults)
            # of a part that has faults nothing follows: that is said once
            unknown = {k: {} for k in DERIVED - set(derived) - set(transform) if takes(TRANSFORMS, transform, k)}
            check_part(TRANSFORMS, transform, spot, faults, build=not unknown, **unknown)
        if 'mask_tokens' in derived and takes(DATASETS, dataset, 'mask_tokens'):
            fill(dataset, {'mask_tokens': derived['mask_tokens']}, path, faults)
        check_dataset(dataset, path, data_root, faults)
    collate = loader.get('collate_fn')
    if collate and collate.get('type') == 'seg_collate' and 'pad_token_id' in derived:
        fill(collate, {'pad_token_id': derived['pad_token_id']}, f'{where}.collate_fn', faults)
    check_loader(loader, where, faults)


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
