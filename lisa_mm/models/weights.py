"""Read the weights of one part, strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from .base import Part
from .reading import fill
from .weight_files import not_finite, read_shapes, read_weights


def is_trained(module: nn.Module) -> bool:
    """Whether any parameter in a module gets a gradient, adapters included."""
    return any(parameter.requires_grad for parameter in module.parameters())


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str, *, ignore: Iterable[str] = ()) -> None:
    """Put ``state`` into ``module``; every key must be used, every weight found and finite, every shape equal.

    Args:
        module: Receives the weights.
        state: Name -> tensor.
        source: Names the file in errors.
        ignore: Prefixes of keys that are known to be unused here.

    Raises:
        CheckpointError: naming the first missing, left-over and mis-shaped keys, or tensors with NaN or infinite numbers.
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
    broken = not_finite(state)
    if broken:
        raise CheckpointError(
            f'{source}: {len(broken)} tensors hold NaN or infinite numbers: {", ".join(broken[:4])}'
            f'{", ..." if len(broken) > 4 else ""}. Every answer and loss would be NaN: take an earlier or another file.'
        )
    fill(module, state)


def load_part(module: Part, pretrained: str | None) -> None:
    """Load a part's own weight file if one is given."""
    module.from_file = pretrained is not None
    if pretrained is not None:
        load_strictly(module, read_weights(pretrained, own=module.state_dict()), str(pretrained))


def compare_part(module: Part, pretrained: str | None) -> None:
    """Compare a part's names and shapes on the meta device with its weight file, if it exists and lists them quickly."""
    if pretrained is not None and Path(pretrained).is_file() and Path(pretrained).suffix == '.safetensors':
        load_strictly(module, read_shapes(pretrained, module.state_dict()), str(pretrained))


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
