"""The phases of building a part: its constructor, then its weights.

1. The constructor builds the architecture. It reads no weights: configs are checked on the meta device before weights exist.
2. ``load_pretrained()`` reads the part's weights. It may replace modules (through ``from_pretrained``, which shards them
  under ZeRO-3 and quantises them while reading). Without a file, the constructor's random weights stay. On the meta
   device ``check_pretrained()`` replaces it.
3. :func:`.tuning.resolve` adds adapters to the loaded weights (PiSSA and DoRA start from them) and sets what is trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import ConfigError


class BuiltInPhases(type):
    """Calling a part class runs the constructor, then ``load_pretrained`` or, on the meta device, ``check_pretrained``."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        try:
            part = super().__call__(*args, **kwargs)
        except OSError as error:
            if not on_meta():
                raise
            raise ConfigError(
                f'{cls.__name__}: the constructor reads a file ({error}). A config is checked before weights are there: the '
                'constructor builds the architecture alone, and load_pretrained() reads the files.'
            ) from error
        if on_meta():
            part.check_pretrained()
        else:
            part.load_pretrained()
        return part

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's signature, which :meth:`__call__` would hide."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())
        return inspect.Signature(parameters[1:])


def on_meta() -> bool:
    """Whether parts are being built only for their shapes."""
    return torch.get_default_device().type == 'meta'


class _WithoutInitialisation(TorchFunctionMode):
    """Skips random and constant fills: on the meta device they have no effect, but cost seconds for a large model."""

    _FILLS = frozenset([Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.erfinv_, Tensor.clamp_])

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get('tensor')
        if isinstance(tensor, Tensor) and tensor.is_meta:
            is_init = getattr(func, '__module__', None) == 'torch.nn.init' and func.__name__.endswith('_')
            if is_init or func in self._FILLS:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build parts for their shapes: on the meta device, without reading or drawing weights."""
    with torch.device('meta'), _WithoutInitialisation():
        yield
