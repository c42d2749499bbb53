"""What hooks see of a checkpoint: its weights, each read when a hook asks for it, and keys of their own beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from .sources import TensorInfo


class Weights(MutableMapping[str, Tensor]):
    """The weights of a checkpoint by name, read one at a time; a hook may put other values in their place.

    In saving all processes must read the same ones in the same order, since ZeRO gathers each.

    Args:
        info: Shape and dtype of each, whole.
        read: Returns a copy of one, on the CPU.

    Raises:
        ConfigError: where a hook adds or removes one, or gives it another shape.
    """

    def __init__(self, info: Mapping[str, TensorInfo], read: Callable[[str], Tensor]):
        self.info = info
        self.read = read
        self.replaced: dict[str, Tensor] = {}
        self.broken: list[str] = []  # what was found to hold a value that is not finite

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.info:
            raise KeyError(name)
        value = self.replaced[name] if name in self.replaced else self.read(name)
        if name not in self.broken and not torch.isfinite(value).all():
            self.broken.append(name)
        return value

    def __setitem__(self, name: str, value: Tensor) -> None:
        if name not in self.info:
            raise ConfigError(
                f"a hook put {name!r} into checkpoint['state_dict'], and the model does not train it: put it beside, as a key of "
                'checkpoint.'
            )
        if tuple(value.shape) != self.info[name].shape:
            raise ConfigError(
                f'a hook gave the weight {name!r} of shape {self.info[name].shape} values of shape {tuple(value.shape)}: only '
                'values of the same shape could be loaded.'
            )
        self.replaced[name] = value

    def __delitem__(self, name: str) -> None:
        raise ConfigError(
            f"a hook removed {name!r} from checkpoint['state_dict'], and a checkpoint without it could not be loaded: it may "
            'only put other values in the place of a weight.'
        )

    def __contains__(self, name: object) -> bool:
        return name in self.info

    def __iter__(self) -> Iterator[str]:
        return iter(self.info)

    def __len__(self) -> int:
        return len(self.info)


def refuse_code(added: object, where: str = 'checkpoint') -> None:
    """Refuse what a resumed run could not read: states are read as plain types and tensors, and run no code.

    Raises:
        ConfigError: naming the entry and its type.
    """
    if isinstance(added, Mapping):
        for key, value in added.items():
            refuse_code(value, f'{where}[{key!r}]')
    elif isinstance(added, (list, tuple)):
        for number, value in enumerate(added):
            refuse_code(value, f'{where}[{number}]')
    elif added is not None and type(added) not in (bool, int, float, str, torch.Tensor):
        raise ConfigError(
            f'a hook put {where} of type {type(added).__name__} into a checkpoint; '
            'only numbers, texts, tensors, lists and dicts come back.'
        )


def ask_hooks(
    checkpoint: dict[str, Any], weights: Weights, callback: Callable[[dict[str, Any]], object] | None
) -> dict[str, Any]:
    """Let hooks change what is saved.

    Args:
        checkpoint: What they see beside the weights.
        weights: The weights; they see them as ``state_dict``.
        callback: Calls the hooks.

    Returns:
        What they added.

    Raises:
        ConfigError: for what a resumed run could not read, or another object in place of the weights.
    """
    checkpoint['state_dict'] = weights
    own = set(checkpoint)
    if callback is not None:
        callback(checkpoint)
    if checkpoint['state_dict'] is not weights:
        raise ConfigError(
            "a hook put another object in place of checkpoint['state_dict']: give single weights other values, "
            "checkpoint['state_dict'][name] = tensor."
        )
    added = {key: value for key, value in checkpoint.items() if key not in own}
    refuse_code(added)
    return added
