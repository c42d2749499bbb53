"""How weight files fill a model: in the dtype of training, on the device of training, tensor by tensor.

A strategy builds its model within :func:`reading_weights`. Files are memory-mapped. A tensor that already has the right dtype
stays mapped on a CPU, so that all processes share the pages of the file; any other is converted, or moved to the GPU, alone.
Buffers keep their own dtype, as under DeepSpeed's cast. Without :func:`reading_weights`, weights are copied into float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Reading:
    """Where weights go when they are read.

    Args:
        dtype: The dtype of floating-point parameters.
        device: The device of parameters.
    """

    dtype: torch.dtype
    device: torch.device


_reading: ContextVar[Reading | None] = ContextVar('reading', default=None)


def current_reading() -> Reading | None:
    """The dtype and device that :func:`reading_weights` has set, or None."""
    return _reading.get()


@contextmanager
def reading_weights(reading: Reading | None) -> Iterator[None]:
    """Parts that are built within read their files as ``reading`` says; None means copies in float32 on the CPU."""
    token = _reading.set(reading)
    try:
        yield
    finally:
        _reading.reset(token)


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module the tensors of a state dict whose names and shapes fit.

    Args:
        module: Its parameters keep their identity. Within :func:`reading_weights` they may share memory with ``state``, so
            that a mapped file stays mapped.
        state: Name -> tensor, for every name in the module's own state dict.
    """
    reading = current_reading()
    if reading is None:
        module.load_state_dict(dict(state))
        return
    taken: set[int] = set()
    with torch.no_grad():
        for name, own in module.state_dict(keep_vars=True).items():
            if not isinstance(own, nn.Parameter) or not own.is_floating_point():
                own.copy_(state[name])
                continue
            value = state[name].to(reading.device, reading.dtype).contiguous()
            # names that share memory in a torch file stay apart, for a step of one would change the other
            own.data = value.clone() if value.data_ptr() in taken else value
            taken.add(own.data_ptr())


@contextmanager
def parameters_in(dtype: torch.dtype, exact: Callable[[str, Tensor], bool]) -> Iterator[None]:
    """Modules built within on the meta device have their float32 parameters in ``dtype``; buffers stay as they are.

    Args:
        dtype: The dtype.
        exact: Tells from its name in its module and from its shape whether a parameter stays in float32.
    """

    def convert(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or not parameter.is_meta or parameter.dtype != torch.float32 or exact(name, parameter):
            return None
        return nn.Parameter(parameter.detach().to(dtype), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(convert)  # pyright: ignore[reportArgumentType] - a result replaces
    try:
        yield
    finally:
        handle.remove()


class _DrawnAside(TorchFunctionMode):
    """Draws a parameter's initial numbers into one buffer for all: memory that nothing writes to takes no room."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = torch.empty(0)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        is_init = getattr(func, '__module__', None) == 'torch.nn.init' and func.__name__.endswith('_')
        tensor = (args[0] if args else kwargs.get('tensor')) if is_init else None
        if not isinstance(tensor, nn.Parameter) or tensor.is_meta:
            return func(*args, **kwargs)
        if self._buffer.numel() < tensor.numel() or self._buffer.dtype != tensor.dtype:
            self._buffer = torch.empty(tensor.numel(), dtype=tensor.dtype)
        kwargs.pop('tensor', None)
        func(self._buffer[: tensor.numel()].view(tensor.shape), *args[1:], **kwargs)
        return tensor


def to_be_filled(given: bool) -> AbstractContextManager[object]:
    """Around a constructor's modules: if a file is ``given`` that fills all of them, their random numbers take no memory.

    The numbers are drawn nevertheless, so that a seed gives the parts that follow the same numbers with and without a file.
    """
    return _DrawnAside() if given else nullcontext()
