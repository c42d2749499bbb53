"""Files of weights: which ones a path means, what wraps the tensors in them, and whether their numbers are finite."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CheckpointError
from ..file_kinds import OLD_TORCH, SAFETENSORS, check_weights, read_json

# In the order in which transformers looks for them
NAMES = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')
SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt')
# Keys under which training programs save a state dict beside other things
WRAPPERS = ('model', 'state_dict', 'model_state_dict', 'module', 'model_state', 'net', 'network', 'weights')
# State of an optimizer and its like, which is no weights even where it is all tensors
BESIDE = re.compile(r'optim|sched|scaler|rng|random|epoch|step|iter', re.IGNORECASE)
# Put before every name by DataParallel and DDP, by torch.compile, by peft
PREFIXES = ('module.', '_orig_mod.', 'base_model.model.')
_SHOWN = 4


def check_files(path: Path) -> None:
    """Check a folder's weights before another library reads them: their names, first bytes, and what their pickles ask for.

    Raises:
        CheckpointError: if a file is missing, cut off, no weights, or no bare dict of tensors.
    """
    for file in find_files(path)[0]:
        kind = check_weights(file)
        if kind.name == SAFETENSORS:
            continue
        state = load_torch(file, mmap=kind.name != OLD_TORCH)
        if not _is_state(state):
            held = f': {_listed(state)}' if isinstance(state, Mapping) else ''
            raise CheckpointError(
                f'{file} holds a {type(state).__name__}{held}; expected a dict of tensors, as transformers saves.'
            )


def find_files(path: Path) -> tuple[list[Path], dict[str, str]]:
    """The weight files of a path in order, and the contents of their index (empty without one).

    Raises:
        CheckpointError: if there are none, or if a file named by the index or the shard numbers is missing.
    """
    if path.is_file():
        return [path], {}
    if not path.is_dir():
        raise CheckpointError(f'{path} does not exist. Give a weights file or a folder of them.')
    for name in NAMES:
        if not (path / name).is_file():
            continue
        if name.endswith('.json'):
            index = read_json(path / name).get('weight_map')
            if not isinstance(index, dict) or not index or not all(isinstance(file, str) for file in index.values()):
                raise CheckpointError(f'{path / name} has no weight_map. Download the folder again.')
            files = sorted(set(index.values()))
            missing = [file for file in files if not (path / file).is_file()]
            if missing:
                raise CheckpointError(
                    f'{path}: {name} names {len(missing)} files that are not there: {", ".join(missing)}. Download them.'
                )
            return [path / file for file in files], index
        return [path / name], {}
    return sorted(_numbered_shards(path)), {}


def _numbered_shards(path: Path) -> Iterator[Path]:
    """Shards ``...-00001-of-00003...`` that have no index."""
    found = [p for p in path.iterdir() if p.suffix in SUFFIXES and re.search(r'-\d{5}-of-\d{5}$', p.stem)]
    if not found:
        raise CheckpointError(
            f'{path} holds no weights: looked for {", ".join(NAMES)} and shards named *-00001-of-0000N. '
            'Give the folder that holds them.'
        )
    counts = {int(p.stem.rsplit('-', 1)[1]) for p in found}
    numbers = sorted(int(p.stem.rsplit('-', 3)[1]) for p in found)
    if len(counts) > 1 or numbers != list(range(1, counts.pop() + 1)):
        raise CheckpointError(f'{path}: shards {numbers} are not all that {found[0].name} tells of. Download the others.')
    yield from found


def read_weights(path: str | Path, *, own: Collection[str] = ()) -> dict[str, Tensor]:
    """Map a state dict from a safetensors file or a torch file (with ``weights_only=True``), whatever its name.

    Pages load when a tensor is used; a torch file of before version 1.6 is read as a whole.

    A wrapper around it (``{'model': ..., 'optimizer': ...}``) and a prefix of all names (``module.``) are taken off, and the
    log says so.

    Args:
        path: The file.
        own: Names that are wanted, if known: a prefix that they have too is kept.

    Raises:
        CheckpointError: if the file is missing, cut off or no weights, if it asks for code, or holds several state dicts.
    """
    path = Path(path)
    state = read_unprefixed(path)
    prefix = common_prefix(state, own)
    tell_prefix(path, prefix)
    return {name.removeprefix(prefix): value for name, value in state.items()}


def read_unprefixed(path: Path) -> dict[str, Tensor]:
    """:func:`read_weights` with the names as they are in the file."""
    if not path.exists():
        raise CheckpointError(f'{path}: no such file. Give the path of the weights, or pretrained=None for random ones.')
    kind = check_weights(path)
    try:
        if kind.name == SAFETENSORS:
            return load_file(path, device='cpu')
        state = load_torch(path, mmap=kind.name != OLD_TORCH)  # the old ones cannot be mapped
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: not readable as weights ({error}). The file is damaged: download it again.') from error
    return unwrapped(state, path)


def load_torch(path: Path, *, mmap: bool = False) -> Any:
    """``torch.load`` that runs no code; an error says what the file asks for, without torch's advice to run it.

    Raises:
        CheckpointError: if the file is damaged, or holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='.*TypedStorage', category=UserWarning)
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except OSError:
        raise
    except UnpicklingError as error:
        raise CheckpointError(
            f'{path}: refused, it holds more than tensors: {pickle_fault(error)}. Where it was made, save the bare state dict: '
            'torch.save(model.state_dict(), FILE), or safetensors.'
        ) from None  # a traceback would show torch's advice to run its code
    except Exception as error:  # a damaged pickle raises any of them
        raise CheckpointError(
            f'{path}: not readable as weights ({pickle_fault(error)}). The file is damaged: download it again.'
        ) from None


def pickle_fault(error: Exception) -> str:
    """What is wrong with a file that ``torch.load`` refuses, in words of ours: torch's own advise to run its code."""
    text = str(error)
    found = re.search(r'GLOBAL ([\w.]+)', text)
    if found:
        return f'it asks for {found[1]}, and a file that gets what it asks for can run any code'
    if 'weights_only' in text:
        return 'its pickle is damaged or wants to build other objects'
    return (text.splitlines() or [''])[0] or type(error).__name__


def unwrapped(state: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds: itself, or the only one below a known key, such as ``model`` or ``state_dict``.

    Raises:
        CheckpointError: if there is none, several, or one under an unknown key.
    """
    way, aside = '', []
    while not _is_state(state):
        held = dict(state) if isinstance(state, Mapping) else {}
        where = f'{path}{way}'
        inside = [key for key, value in held.items() if _holds_state(value) and not BESIDE.search(str(key))]
        # numbers such as an epoch lie beside a state dict; weights beside one leave open which are meant
        loose = [key for key, value in held.items() if isinstance(value, Tensor) and value.ndim and value.is_floating_point()]
        if len(inside) > 1 or (inside and loose):
            raise CheckpointError(
                f'{where} holds several sets of weights: {_listed([*inside, *loose])}. Save the one that is meant alone.'
            )
        if not inside:
            kinds = [f'{key} ({type(value).__name__})' for key, value in held.items() if not isinstance(value, Tensor)]
            what = f'holds {_listed(kinds)}' if kinds else f'holds a {type(state).__name__}'
            raise CheckpointError(f'{where} {what}; expected a dict of tensors. Save the bare state dict again.')
        if inside[0] not in WRAPPERS:
            raise CheckpointError(
                f'{where} holds its weights under {inside[0]!r}, which is none of the usual names ({", ".join(WRAPPERS)}). '
                'Save what is in it alone, if it is what you want.'
            )
        way += f'[{inside[0]!r}]'
        aside += [key for key in held if key != inside[0]]
        state = held[inside[0]]
    if way:
        _tell_once(f'{path}: the weights are taken from {way}{f"; left aside: {_listed(aside)}" if aside else ""}')
    return dict(state)


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(entry, Tensor) for key, entry in value.items())
    )


def _holds_state(value: object, depth: int = 3) -> bool:
    return _is_state(value) or (
        depth > 0
        and isinstance(value, Mapping)
        and any(_holds_state(entry, depth - 1) for key, entry in value.items() if not BESIDE.search(str(key)))
    )


def _listed(names: Collection[object]) -> str:
    shown = [str(name) for name in names]
    return ', '.join(shown[:_SHOWN]) + (f' and {len(shown) - _SHOWN} more' if len(shown) > _SHOWN else '')


def common_prefix(names: Collection[str], own: Collection[str] = (), *, known: Collection[str] = PREFIXES) -> str:
    """The prefixes, one after the other, that all names have and that no training program gives a module of its own.

    Args:
        names: Names in a file.
        own: Names that are wanted; a prefix that one of them has is kept.
        known: The prefixes to look for.
    """
    whole = ''
    while names:
        found = next((p for p in known if all(name.startswith(whole + p) for name in names)), None)
        if found is None or any(name.startswith(found) for name in own):
            break
        whole += found
    return whole


def tell_prefix(path: Path, prefix: str) -> None:
    """Log that a prefix is taken off; nothing for ''."""
    if prefix:
        _tell_once(f'{path}: {prefix!r} before all names is taken off')


@lru_cache(maxsize=64)
def _tell_once(message: str) -> None:
    """Log a line, once for a file that is opened several times."""
    print_log(message, logger='current')


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that hold NaN or infinite numbers; about 6 GB a second on one core."""
    return [name for name, value in state.items() if not is_finite(value)]


def is_finite(value: Tensor) -> bool:
    """Whether no number of a tensor is NaN or infinite; True on the meta device and for integers."""
    if not value.is_floating_point() or value.is_meta or not value.numel() or value.itemsize == 1:
        return True
    low, high = value.aminmax()  # NaN goes through it
    return bool(torch.isfinite(low) & torch.isfinite(high))


def read_shapes(path: str | Path, own: Collection[str] = ()) -> dict[str, Tensor]:
    """A state dict of shapes without values, from a ``.safetensors`` file.

    Args:
        path: The file.
        own: As in :func:`read_weights`.

    Raises:
        CheckpointError: if the file is damaged.
    """
    check_weights(path)
    try:
        with safe_open(path, framework='pt') as file:
            names = list(file.keys())
            prefix = common_prefix(names, own)
            return {name.removeprefix(prefix): torch.empty(file.get_slice(name).get_shape(), device='meta') for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: not readable as weights ({error}). The file is damaged or of another format.') from error
