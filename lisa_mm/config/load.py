"""Read a config: its bases, whole-part swaps, options and plugins."""

from __future__ import annotations

import copy
import difflib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..errors import ConfigError
from .edits import RUNNER_KEYS, apply_option, apply_swap
from .files import flattened, follow_types


def load_config(path: str | Path, swaps: Iterable[str] = (), options: Iterable[str] = ()) -> Config:
    """Read a config, run its ``custom_imports``, apply whole-part swaps, then options.

    Args:
        path: A config file.
        swaps: ``part=name`` takes the whole part from ``_base_/<folder>/<name>.py`` beside the config, in the ``configs`` of an
            imported plugin, or in the shipped ones; folders are mllms, vision_towers, projectors (none is shipped),
            language_models, mask_decoders, lora and strategies.
        options: ``key.sub=value``; values are Python literals, otherwise strings.

    Returns:
        The source config as a work folder keeps it, without derived values.

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
    """The content of a config file whose bases, if any, have the same style; errors in the file are reported with their line.

    Raises:
        ConfigError: for a file that does not run, or a missing base file.
    """
    try:
        return Config.fromfile(path).to_dict()
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).suffix == '.py']
        line = next((frame.lineno for frame in reversed(ours) if Path(frame.filename).resolve() == path.resolve()), None)
        line = error.lineno if isinstance(error, SyntaxError) else line
        where = f'{path}, line {line}' if line else str(path)
        raise ConfigError(f'{where} is no valid config: {type(error).__name__}: {error}. Correct it there.') from error


def run_imports(imports: object, path: Path) -> None:
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


def with_here(node: object, folder: Path) -> Any:
    """``here://NAME`` -> a path beside the config, so that a folder with its config may be moved."""
    if isinstance(node, dict):
        return {key: with_here(value, folder) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(with_here(value, folder) for value in node)
    if isinstance(node, str) and node.startswith('here://'):
        return str(folder / node.removeprefix('here://'))
    return node


def check_top_level(content: Mapping[str, Any], where: str) -> None:
    """Drop names that are not runner keys, as variables; a name close to a runner key is a mistake."""
    faults = []
    for key in content:
        if key not in RUNNER_KEYS:
            # even beside the right key: that may come from a base, and the leaf's value would be dropped silently
            close = difflib.get_close_matches(key, RUNNER_KEYS, n=1, cutoff=0.85)
            if close:
                faults.append(
                    f'{where}: {key!r} is no key of a config. Did you mean {close[0]!r}? A variable needs another name.'
                )
    if 'model' not in content:
        faults.append(f"{where}: 'model' is missing.")
    if faults:
        raise ConfigError(faults)
