"""List every part that a config can name, with its arguments."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.registry import FUNCTIONS, PARAM_SCHEDULERS, Registry

from ..config.edits import PART_FOLDERS, overlay_files
from ..config.load import load_config
from ..errors import ConfigError, nearest
from ..registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    ROLES,
    STRATEGIES,
    TEXT_SIMILARITIES,
    TRANSFORMS,
)
from .benchmarks import known_benchmarks

REGISTRIES: tuple[Registry, ...] = (
    *ROLES,
    MODELS,
    DATASETS,
    TRANSFORMS,
    DATA_SAMPLERS,
    FUNCTIONS,
    METRICS,
    TEXT_SIMILARITIES,
    STRATEGIES,
    LOOPS,
    PARAM_SCHEDULERS,
    HOOKS,
)
# Supplied by the part's owner or the runner, never written in a config
GIVEN = {'optimizer', 'runner', 'dataloader', 'batch', 'kwargs', 'params'}
OF_THE_FRAMEWORK = ('mmengine', 'mmcv', 'torch', 'transformers')


def list_parts(name: str | None = None, *, config: str | Path | None = None, everything: bool = False) -> dict[str, Any]:
    """Registered parts by role, the overlays of ``--swap``, and the benchmarks of ``tools/test.py --benchmarks``.

    Args:
        name: List only this part.
        config: Also list the plugins from this config's ``custom_imports``, and the overlays and benchmarks of both.
        everything: Also list what mmengine and mmcv register.

    Returns:
        ``{'parts': {role: {name: {'summary', 'arguments': {argument: {'default', 'about'}}}}},
        'overlays': {part: {name: summary}}, 'benchmarks': {name: {'title', 'splits'}}}``; an argument without a default must be
        given or is derived.

    Raises:
        ConfigError: for an unknown name.
    """
    imports = load_config(config).get('custom_imports') if config is not None else None
    parts: dict[str, dict[str, Any]] = {}
    for registry in REGISTRIES:
        registry.import_from_location()
        found = dict(registry.module_dict)
        if everything and registry.parent is not None:
            found = {**registry.parent.module_dict, **found}
        ours = {key: cls for key, cls in sorted(found.items()) if everything or not cls.__module__.startswith(OF_THE_FRAMEWORK)}
        described = {key: describe(cls) for key, cls in ours.items() if name in (None, key)}
        if described:
            parts.setdefault(registry.name, {}).update(described)
    overlays = list_overlays(config, imports)
    if name is not None and not parts:
        known = {key for registry in REGISTRIES for key in registry.module_dict}
        where = [f'--swap {part}={name}' for part, names in overlays.items() if name in names]
        hint = f' It is an overlay: {", ".join(where)}.' if where else nearest(name, known)
        raise ConfigError(f'{name!r} is no registered part.{hint} A class of your own: --config CONFIG with custom_imports.')
    if name:
        return {'parts': parts, 'overlays': {}, 'benchmarks': {}}
    known_splits = known_benchmarks(Path(config) if config else None, imports)
    benchmarks = {key: {'title': splits[0].title, 'splits': [split.name for split in splits]} for key, splits in known_splits}
    return {'parts': parts, 'overlays': overlays, 'benchmarks': benchmarks}


def describe(cls: Callable[..., object]) -> dict[str, Any]:
    """A class's module, the first line of its docstring, and its arguments with defaults and documentation."""
    about = documented_arguments(cls)
    arguments = {}
    for source in signatures(cls):
        for key, parameter in source.parameters.items():
            if key in ('self', *GIVEN) or key in arguments or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            entry: dict[str, Any] = {'about': about.get(key, '')}
            if parameter.default is not parameter.empty:
                entry['default'] = parameter.default
            arguments[key] = entry
    return {'module': cls.__module__, 'summary': summary_of(inspect.getdoc(cls)), 'arguments': arguments}


def signatures(cls: Callable[..., object]) -> list[inspect.Signature]:
    """Signatures of the class and, through ``**kwargs``, of this package's bases."""
    if not inspect.isclass(cls):
        return [inspect.signature(cls)]
    own = [c for c in cls.__mro__ if '__init__' in vars(c) and not c.__module__.startswith(OF_THE_FRAMEWORK) and c is not object]
    found: list[inspect.Signature] = []
    for source in own:
        found.append(inspect.signature(source.__init__))
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found[-1].parameters.values()):
            break
    return found


def summary_of(doc: str | None) -> str:
    """The first line of a docstring."""
    return (doc or '').strip().split('\n')[0]


def documented_arguments(cls: Callable[..., object]) -> dict[str, str]:
    """Argument -> its text in the ``Args:`` of the class or of a base that the class names."""
    found: dict[str, str] = {}
    classes = cls.__mro__ if inspect.isclass(cls) else [cls]
    for doc in [inspect.cleandoc(c.__doc__) for c in classes if c.__doc__ and c is not object]:
        match = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', doc, flags=re.S | re.M)
        block = match.group(1) if match else ''
        for entry in re.finditer(r'^    ([a-z_0-9, ]+?)(?: \([^)]*\))?: (.*?)(?=^    \S|\Z)', block, flags=re.S | re.M):
            for key in entry.group(1).split(','):
                found.setdefault(key.strip(), ' '.join(entry.group(2).split()))
    return found


def list_overlays(config: str | Path | None = None, imports: object = None) -> dict[str, dict[str, str]]:
    """The overlays that ``--swap PART=NAME`` finds: part -> name -> the first line of the file.

    Args:
        config: Also list the overlays beside this config.
        imports: Its ``custom_imports``, already imported: also list the overlays of those packages.
    """
    overlays: dict[str, dict[str, str]] = {}
    for part in PART_FOLDERS:
        for name, file in overlay_files(part, Path(config) if config else None, imports).items():
            doc = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8')))
            overlays.setdefault(part, {})[name] = summary_of(doc)
    return overlays


def listing_text(listing: dict[str, Any], *, verbose: bool = False) -> str:
    """The listing as text."""
    lines = []
    for role, parts in listing['parts'].items():
        lines += ['', role] if lines else [role]
        for name, part in parts.items():
            lines.append(f'  {name}: {part["summary"]}')
            shown = [key + (f'={entry["default"]!r}' if 'default' in entry else '') for key, entry in part['arguments'].items()]
            if shown and not verbose:
                lines.append(f'      {", ".join(shown)}')
            elif verbose:
                pairs = zip(shown, part['arguments'].values(), strict=True)
                lines += [f'      {text}: {entry["about"]}' for text, entry in pairs]
    for part, names in listing['overlays'].items():
        lines += ['', f'--swap {part}=...', *(f'  {name}: {summary}' for name, summary in names.items())]
    if listing['benchmarks']:
        described = (f'  {name}: {one["title"]} ({", ".join(one["splits"])})' for name, one in listing['benchmarks'].items())
        lines += ['', '--benchmarks ...', *described]
    return '\n'.join(lines)
