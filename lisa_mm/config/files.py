"""Merge config files of both mmengine styles, and clean up after a changed ``type``."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import ConfigError
from ..registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    MASK_DECODERS,
    METRICS,
    MLLMS,
    MODELS,
    ROLES,
    STRATEGIES,
    TRANSFORMS,
    RoleRegistry,
    accepted_arguments,
)
from .edits import BRIDGES, PART_PATHS, untie

Read = Callable[[Path], dict[str, Any]]
OTHERS = (MODELS, DATASETS, DATA_SAMPLERS, TRANSFORMS, METRICS, HOOKS, LOOPS, STRATEGIES)


def flattened(path: Path, read: Read) -> dict[str, Any]:
    """A config as plain data. A file with ``_base_ = [...]`` may have bases with ``read_base``, which mmengine refuses.

    Its settings are merged into its bases key by key, as in mmengine; a part whose ``type`` changes loses the old type's
    arguments, and weights between two parts are dropped if one of the two changes.

    Args:
        path: A config file of either style.
        read: Reads one file in a form that mmengine supports.

    Raises:
        ConfigError: for a missing base, or bases that set the same key.
    """
    try:
        bases = Config._get_base_files(str(path)) if path.suffix == '.py' else []
    except SyntaxError:
        bases = []  # read reports the place
    if not bases:
        return read(path)
    flat: dict[str, Any] = {}
    for name in bases:
        base = Path(Config._get_cfg_path(name, str(path))[0])
        if not base.is_file():
            raise ConfigError(f'{path}: _base_ names {name!r}, but there is no file {base}.')
        content = flattened(base, read)
        twice = sorted(set(flat) & set(content))
        if twice:
            raise ConfigError(f'{path}: two of its bases set {twice[0]!r}. Give it in one of them.')
        flat |= content
    merged = _merged(path, flat, read)
    follow_types(flat, merged, str(path))
    return merged


def _merged(path: Path, flat: dict[str, Any], read: Read) -> dict[str, Any]:
    """Merge ``path`` into its bases by mmengine's own rules (``_delete_``, ``_base_.name``)."""
    with TemporaryDirectory() as scratch:
        base, leaf = Path(scratch) / 'flat_base.py', Path(scratch) / path.name
        base.write_text(''.join(f'{key} = {value!r}\n' for key, value in flat.items()), encoding='utf-8')
        Config._substitute_predefined_vars(str(path), str(leaf))  # {{fileDirname}} is the folder of the file itself
        lines = leaf.read_text(encoding='utf-8').splitlines()
        for node in ast.parse('\n'.join(lines)).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == '_base_':
                assert node.end_lineno is not None
                blank = [''] * (node.end_lineno - node.lineno)  # keeps line numbers in errors
                lines[node.lineno - 1 : node.end_lineno] = [f'_base_ = [{str(base)!r}]', *blank]
        leaf.write_text('\n'.join(lines), encoding='utf-8')
        try:
            return read(leaf)
        except ConfigError as error:
            raise ConfigError([fault.replace(str(leaf), str(path)) for fault in error.faults]) from error


def follow_types(before: dict[str, Any], after: dict[str, Any], edit: str) -> None:
    """Clean up after an edit that changed the ``type`` of parts, and log it.

    Arguments of the old type that the new one lacks are dropped; those the edit itself wrote stay, and are faults if the new type
    does not take them. Neighbours' weights trained for the old part are dropped too, as with ``--swap``.

    Args:
        before: The config without the edit.
        after: The config with it; changed in place.
        edit: Name of the edit in the log.
    """
    _drop_left_over(before, after, edit, '')
    for part, bridges in BRIDGES.items():
        old, new = _at(before, PART_PATHS[part]), _at(after, PART_PATHS[part])
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get('type') != new.get('type'):
            for bridge in bridges:
                had, has = (_at(config, (*bridge, 'pretrained')) for config in (before, after))
                if has is not None and has == had:
                    untie(after, bridge, edit)


def _drop_left_over(before: object, after: object, edit: str, path: str) -> None:
    if not (isinstance(before, Mapping) and isinstance(after, dict)):
        return
    old, new = find_class(before.get('type')), find_class(after.get('type'))
    if old and new and old[1] is not new[1] and old[0] is new[0]:
        had, takes = accepted_arguments(old[1]), accepted_arguments(new[1])
        if had is not None and takes is not None:
            gone = [key for key in before if key in had - takes and key in after and after[key] == before[key]]
            for key in gone:
                del after[key]
            if gone:
                say_dropped(edit, path, gone, new[1], f' of {old[1].__name__}')
    for key, value in after.items():
        _drop_left_over(before.get(key), value, edit, f'{path}.{key}' if path else str(key))


def _at(node: object, path: tuple[str, ...]) -> Any:
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def say_dropped(edit: str, path: str, gone: list[str], new: type, of: str = '') -> None:
    """Log the arguments dropped from a part."""
    print_log(f'{edit}: {path} is a {new.__name__}, which does not take {", ".join(gone)}{of}: dropped', logger='current')


def find_class(name: object) -> tuple[Any, type] | None:
    """The registry and class of a ``type``; None for an unknown one."""
    if not isinstance(name, str):
        return None
    for registry in (*ROLES, *OTHERS):
        registry.import_from_location()
        if name in registry.module_dict:
            return registry, registry.module_dict[name]
    return None


def without_replaced_parts(source: Config) -> Config:
    """A copy of a source config after :func:`drop_replaced_parts` on mllm and mask decoder."""
    config = Config(copy.deepcopy(source.to_dict()))
    for key, registry in (('mllm', MLLMS), ('mask_decoder', MASK_DECODERS)):
        if isinstance(config.model.get(key), dict):
            drop_replaced_parts(registry, config.model[key], f'model.{key}')
    return config


def drop_replaced_parts(registry: RoleRegistry, part: dict[str, Any], where: str) -> None:
    """Remove nested parts that only other classes of this role have: a whole model has a tower of its own.

    Args:
        registry: The registry of the part's role.
        part: ``dict(type=..., ...)``; changed in place.
        where: Its path in the config.
    """
    found = find_class(part.get('type'))
    takes = accepted_arguments(found[1]) if found and found[0] is registry else None
    if found is None or takes is None:
        return
    inner = [k for k, v in part.items() if k not in takes and isinstance(v, Mapping) and 'type' in v]
    elsewhere = set().union(*(accepted_arguments(registry.module_dict[name]) or () for name in registry.names()))
    gone = [key for key in inner if key in elsewhere]
    for key in gone:
        del part[key]
    if gone:
        say_dropped('compile_config', where, gone, found[1])
