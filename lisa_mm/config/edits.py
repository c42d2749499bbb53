"""Command-line edits of a config: whole parts and single keys."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from ..errors import ConfigError, nearest
from ..registry import MLLMS, takes

LOADER_KEYS = {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch'}  # the last one is mmengine's

RUNNER_KEYS = frozenset(
    [
        'model',
        'data_root',
        'work_dir',
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'train_cfg',
        'val_cfg',
        'test_cfg',
        'strategy',
        'optim_wrapper',
        'param_scheduler',
        'val_evaluator',
        'test_evaluator',
        'default_hooks',
        'custom_hooks',
        'cache_features',
        'load_from',
        'resume',
        'launcher',
        'env_cfg',
        'log_processor',
        'log_level',
        'visualizer',
        'default_scope',
        'randomness',
        'experiment_name',
        'custom_imports',
    ]
)
PART_PATHS = {
    'mllm': ('model', 'mllm'),
    'vision_tower': ('model', 'mllm', 'vision_tower'),
    'projector': ('model', 'mllm', 'projector'),
    'language_model': ('model', 'mllm', 'language_model'),
    'mask_decoder': ('model', 'mask_decoder'),
    'lora': ('model', 'lora'),
    'strategy': ('strategy',),
}
# Folders below _base_ where --swap finds the files of a part
PART_FOLDERS = {part: part if part == 'lora' else 'strategies' if part == 'strategy' else f'{part}s' for part in PART_PATHS}
# Settings of the recipe rather than the part: a swap keeps them
KEPT = {'strategy': ('accumulation', 'target_batch', 'gradient_clipping')}
# Dicts without a type of their own, and the keys that an option may add
OPEN_KEYS = {
    'optim_wrapper': ('type', 'optimizer', 'paramwise_cfg', 'constructor'),
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), LOADER_KEYS),
}
OPEN_PARTS = ('model.losses',)  # more parts may be added under any name, with their type
# Parts between two others, whose weights fit only the neighbours they were trained with
BRIDGES = {
    'mllm': [('model', 'seg_head')],
    'language_model': [('model', 'seg_head'), ('model', 'mllm', 'projector')],
    'vision_tower': [('model', 'mllm', 'projector')],
    'mask_decoder': [('model', 'seg_head')],
}


def apply_swap(source: dict[str, Any], swap: str, path: Path) -> None:
    """Replace one part by the one named, in place."""
    part, equals, name = swap.partition('=')
    if not equals or part not in PART_PATHS:
        raise ConfigError(f'--swap {swap!r}: give part=name.{nearest(part, PART_PATHS)}')
    *parents, last = PART_PATHS[part]
    node = source
    for key in parents:
        if not isinstance(node.get(key), dict):
            raise ConfigError(f'--swap {swap!r}: the config has no {key!r} to swap a part of. Give it a model first.')
        node = node[key]
    if part in ('vision_tower', 'projector', 'language_model') and not takes(MLLMS, node, part):
        raise ConfigError(
            f'--swap {swap!r}: model.mllm is {node.get("type")!r}, a whole model without a {part} of its own. '
            'Swap the mllm, or start from a config with a LlavaMLLM.'
        )
    files = overlay_files(part, path, source.get('custom_imports'))
    if name not in files:
        raise ConfigError(f'--swap {swap!r}: no {part} of this name.{nearest(name, files)}')
    content = Config.fromfile(files[name]).to_dict()
    if part not in content:
        raise ConfigError(f'--swap {swap!r}: {files[name]} sets no {part!r}. Write {part} = dict(type=...) there.')
    new = content[part]
    old = node.get(last)
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [key for key, value in old.items() if isinstance(value, dict) and 'type' in value and key not in new]
        if gone:
            print_log(f'--swap {swap}: {", ".join(gone)} of the old {part} are part of the new one', logger='current')
    if isinstance(old, dict):
        new = {key: value for key, value in new.items() if key not in KEPT.get(part, ())}
        new |= {key: old[key] for key in KEPT.get(part, ()) if key in old}
    node[last] = new
    for bridge in BRIDGES.get(part, ()):
        untie(source, bridge, f'--swap {swap}')


def overlay_files(part: str, config: Path | None, imports: object) -> dict[str, Path]:
    """The files that ``--swap`` finds for a part, a key of ``PART_FOLDERS``; see :func:`base_files`."""
    return base_files(PART_FOLDERS[part], config, imports)


def base_files(folder: str, config: Path | None, imports: object) -> dict[str, Path]:
    """The files in a folder of ``_base_``, by name; the first of two with the same name counts.

    Args:
        folder: Name of the folder.
        config: The config to edit: the ``_base_`` folders beside and above it come first.
        imports: Its ``custom_imports``, already imported: the folders ``configs/_base_`` in those packages come next, and last
            the overlays shipped with lisa_mm.
    """
    from .. import PACKAGE_DIR

    roots = [*(config.resolve().parents if config else ()), *plugin_configs(imports)]
    roots += [PACKAGE_DIR.parent / 'configs', PACKAGE_DIR / 'configs']
    files: dict[str, Path] = {}
    for root in roots:
        for file in sorted((root / '_base_' / folder).glob('*.py')):
            files.setdefault(file.stem, file)
    return files


def plugin_configs(imports: object) -> Iterator[Path]:
    """The ``configs`` folders in the packages of ``custom_imports``, from the named package up to the outermost."""
    names = imports.get('imports') if isinstance(imports, Mapping) else None
    for name in [names] if isinstance(names, str) else names or ():
        levels = name.split('.')
        for depth in range(len(levels), 0, -1):
            module = sys.modules.get('.'.join(levels[:depth]))  # absent if allow_failed_imports permits it
            yield from (Path(folder) / 'configs' for folder in getattr(module, '__path__', ()))


def untie(source: dict[str, Any], path: tuple[str, ...], edit: str) -> None:
    """Train a part anew whose weights were made for a neighbour that is gone."""
    node = source
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict) and node.pop('pretrained', None) is not None:
        node['frozen'] = False
        print_log(
            f'{edit}: {".".join(path)} begins at random and is trained, its weights fit another neighbour',
            logger='current',
        )


def apply_option(source: dict[str, Any], option: str) -> None:
    """Set one key, in place. The key must exist, be a known runner key, or be an argument of the part there."""
    dotted, equals, text = option.partition('=')
    if not equals:
        raise ConfigError(f'--cfg-options {option!r}: give key=value.')
    value = parse_literal(text)
    *parents, last = dotted.split('.')
    node = source
    for depth, key in enumerate(parents):
        node = step_into(node, key, '.'.join(parents[: depth + 1]))
    if isinstance(node, list):
        node[as_index(node, last, dotted)] = value
        return
    if not isinstance(node, dict):
        raise ConfigError(f'--cfg-options {dotted}: {".".join(parents)} is {node!r}, it has no keys.')
    allowed = RUNNER_KEYS if not parents else {*node, *OPEN_KEYS.get('.'.join(parents), ())}
    new_part = '.'.join(parents) in OPEN_PARTS and isinstance(value, dict) and 'type' in value
    if last not in node and 'type' not in node and last not in allowed and not new_part:
        raise ConfigError(f'--cfg-options {dotted}: no such key.{nearest(last, allowed)}')
    if last in node and node[last] == value and type(node[last]) is type(value):
        return
    node[last] = value  # compile_config reports an argument that the part does not take


def step_into(node: object, key: str, dotted: str) -> Any:
    """One step along a dotted path."""
    if isinstance(node, list):
        return node[as_index(node, key, dotted)]
    if not isinstance(node, dict) or key not in node:
        raise ConfigError(f'--cfg-options {dotted}: no such key.{nearest(key, node if isinstance(node, dict) else ())}')
    return node[key]


def as_index(node: list[Any], key: str, dotted: str) -> int:
    """The index of a list in a dotted path."""
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f'--cfg-options {dotted}: {key!r} is no index of a list of {len(node)}.')
    return int(key)


def parse_literal(text: str) -> Any:
    """Parse a Python literal, or return the text itself: paths with blanks and commas stay whole."""
    lowered = {'true': True, 'false': False, 'none': None, 'null': None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
