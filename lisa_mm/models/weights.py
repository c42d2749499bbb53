"""Read the weights of one part, strictly."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from .base import Part


def is_trained(module: nn.Module) -> bool:
    """Whether any parameter in a module gets a gradient, adapters included."""
    return any(parameter.requires_grad for parameter in module.parameters())


def read_weights(path: str | Path, *, mmap: bool = False) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file or a pickled torch file (with ``weights_only=True``).

    Args:
        path: The file.
        mmap: Map a torch file instead of reading it: pages load when a tensor is used.

    Raises:
        CheckpointError: if the file is missing or truncated, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'{path}: no such file. Give the path of the weights, or pretrained=None for random ones.')
    try:
        if path.suffix == '.safetensors':
            return load_file(path, device='cpu')
        if is_cut_off(path):
            raise CheckpointError(f'{path}: the file is cut off (a zip archive without its end). Download or copy it again.')
        # files from before torch 1.6 are not zip archives and cannot be mapped
        mmap = mmap and zipfile.is_zipfile(path)
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f'{path}: not readable as weights ({error}). The file is damaged or of another format.') from error
    except CheckpointError:
        raise
    except Exception as error:  # pickle.UnpicklingError and the errors it wraps
        raise CheckpointError(
            f'{path}: refused, it holds more than tensors ({str(error).splitlines()[0]}). Save the bare state dict again.'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f'{path}: expected a dict of tensors. Save the bare state dict again.')
    return state


def is_cut_off(path: Path) -> bool:
    """Whether a file starts as a zip archive (a torch file since 1.6) but lacks its end."""
    with path.open('rb') as file:
        return file.read(4) == b'PK\x03\x04' and not zipfile.is_zipfile(path)


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str, *, ignore: Iterable[str] = ()) -> None:
    """Copy ``state`` into ``module``; every key must be used, every weight found, every shape equal.

    Args:
        module: Receives the weights.
        state: Name -> tensor.
        source: Names the file in errors.
        ignore: Prefixes of keys that are known to be unused here.

    Raises:
        CheckpointError: naming the first missing, left-over and mis-shaped keys.
    """
    ignore = tuple(ignore)
    own = module.state_dict()
    state = {key: value for key, value in state.items() if not (ignore and key.startswith(ignore))}
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    faults = [
        f'{len(keys)} {what}: {", ".join(keys[:4])}{", ..." if len(keys) > 4 else ""}'
        for what, keys in (('missing', missing), ('left over', unexpected), ('of another shape', shapes))
        if keys
    ]
    if faults:
        raise CheckpointError(
            f'{source} does not fit {type(module).__name__}: {"; ".join(faults)}. '
            "Give the checkpoint of this architecture, change the config's widths to it, or leave it out (pretrained=None)."
        )
    module.load_state_dict(state)


def load_part(module: Part, pretrained: str | None) -> None:
    """Load a part's own weight file if one is given."""
    module.from_file = pretrained is not None
    if pretrained is not None:
        load_strictly(module, read_weights(pretrained), str(pretrained))


def compare_part(module: Part, pretrained: str | None) -> None:
    """Compare a part's names and shapes on the meta device with its weight file, if it exists and lists them quickly."""
    if pretrained is not None and Path(pretrained).is_file() and Path(pretrained).suffix == '.safetensors':
        load_strictly(module, read_shapes(pretrained), str(pretrained))


def read_shapes(path: str | Path) -> dict[str, Tensor]:
    """A state dict of shapes without values, from a ``.safetensors`` file.

    Raises:
        CheckpointError: if the file is damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            names = list(file.keys())
            return {name: torch.empty(file.get_slice(name).get_shape(), device='meta') for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: not readable as weights ({error}). The file is damaged or of another format.') from error


def check_architecture(
    written: Mapping[str, Any], found: Mapping[str, Any], where: str, folder: Path, *, ignore: Iterable[str] = ()
) -> None:
    """Compare an architecture written beside ``pretrained`` with the folder's.

    Args:
        written: The architecture in the config.
        found: The architecture in the folder's ``config.json``.
        where: Path of the part in the config.
        folder: The folder, for errors.
        ignore: Keys that may differ.

    Raises:
        ConfigError: naming every key that differs.
    """
    faults = [
        f'{where}.config.{key} is {value!r}, but {folder / "config.json"} says {found[key]!r}. Correct it, or leave config out.'
        for key, value in written.items()
        if key in found and key not in ignore and found[key] != value
    ]
    if faults:
        raise ConfigError(faults)
