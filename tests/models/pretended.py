"""A GPU that is pretended: tensors say that they are on 'cuda:0' and compute on the CPU, so that a machine without one shows

- operations that mix devices, which a GPU refuses;
- synchronisations, where the host waits for the device: values read, sizes that depend on values, copies between the two.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

ROOT = Path(__file__).parents[2]
CUDA = torch.device('cuda', 0)
aten = torch.ops.aten
SIZED_BY_VALUES = {aten.nonzero.default, aten.masked_select.default, aten.repeat_interleave.Tensor, aten.equal.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
# a GPU takes tensors of the CPU here: to copy from, or as places (which are copied over)
MIXED = {aten._to_copy.default, aten.copy_.default, *INDEXED}


class OnGpu(Tensor):
    """Says that it is on the GPU; ``inner`` is on the CPU, and what torch itself sees is a CPU's tensor."""

    inner: Tensor
    waits: Counter[tuple[str, str]] = Counter()

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device('cpu'),
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return CUDA
        if func == Tensor.is_cuda.__get__:
            return True
        if func is Tensor.numpy:
            raise TypeError(f"can't convert cuda:0 device type tensor to numpy at {place()}")
        if func is Tensor.tolist:
            cls.waits[place(), 'value'] += 1
            return args[0].inner.tolist()
        if func is Tensor.cpu or (func is Tensor.to and _is_cpu(*args[1:], **kwargs)):
            cls.waits[place(), 'to the CPU'] += 1
            return args[0].inner.to(*args[1:], **kwargs) if func is Tensor.to else args[0].inner
        if func is Tensor.new_tensor:
            cls.waits[place(), 'from the CPU'] += 1
            return OnGpu(args[0].inner.new_tensor(*args[1:], **kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f'OnGpu({tuple(self.shape)})'


def _is_cpu(*args: Any, **kwargs: Any) -> bool:
    places = [value for value in (*args, kwargs.get('device')) if isinstance(value, (str, torch.device))]
    return any(torch.device(place).type == 'cpu' for place in places)


class _Pretending(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Making(TorchFunctionMode):
    """``torch.tensor`` on a device does not pass through what torch dispatches."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get('device')
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == 'cuda':
            OnGpu.waits[place(), 'from the CPU'] += 1
            values = [value for value in tree_iter(args) if isinstance(value, OnGpu)]
            if values:  # numbers on the device in a list of the host
                OnGpu.waits[place(), 'value'] += len(values)
            args = tree_map(lambda value: value.inner.item() if isinstance(value, OnGpu) else value, args)
            return OnGpu(func(*args, **{**kwargs, 'device': 'cpu'}))
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    wanted = kwargs.get('device')
    there = bool(ours) or (wanted is not None and torch.device(wanted).type == 'cuda')
    _check(func, args, ours, [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()])
    kind = _wait(func, args, kwargs, ours, there)
    if kind:
        OnGpu.waits[place(), kind] += 1
    if wanted is not None:
        kwargs = {**kwargs, 'device': torch.device('cpu')}
    outer = {id(tensor.inner): tensor for tensor in ours}
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor) or not there:
            return value
        return outer[id(value)] if id(value) in outer else OnGpu(value)  # in place: the same again

    return tree_map(back, out)


def _check(func: Any, args: Any, ours: list[Any], others: list[Tensor]) -> None:
    """What a GPU refuses."""
    if ours and others and func not in MIXED and place() != 'backward':  # whose own zeros torch makes where it thinks it is
        raise RuntimeError(f'{func} got tensors on the CPU {[tuple(t.shape) for t in others]} and on the GPU at {place()}')
    if func in INDEXED and ours and not isinstance(args[0], OnGpu):
        raise RuntimeError(f'{func}: a tensor on the CPU is indexed by one on the GPU at {place()}')


def _wait(func: Any, args: Any, kwargs: Any, ours: list[Any], there: bool) -> str | None:
    """Why the host waits for the device, if it does."""
    if not there:
        return None
    if func in INDEXED:
        places = [place for place in args[1] if place is not None]
        if any(place.dtype in (torch.bool, torch.uint8) for place in places):
            return 'bool index'
        return 'from the CPU' if any(not isinstance(place, OnGpu) for place in places) else None
    if func is aten._local_scalar_dense.default:
        return 'value'
    if func in SIZED_BY_VALUES and kwargs.get('output_size') is None:
        return 'size'
    if func is aten._to_copy.default and not ours:
        return 'from the CPU'
    if func is aten.copy_.default and not isinstance(args[1], OnGpu):
        return 'from the CPU'
    if func is aten.copy_.default and not isinstance(args[0], OnGpu):
        return 'to the CPU'
    return None


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnGpu) else value


def place() -> str:
    """The line of the package that is running, with the library it called; or 'backward', or 'elsewhere'."""
    frame, library = sys._getframe(1), ''
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / 'lisa_mm'):
            return f'{path.relative_to(ROOT)}:{frame.f_lineno}{library}'
        if path.parts[-3:] == ('torch', 'autograd', 'graph.py') or frame.f_code.co_name == 'backward':
            return f'backward{library}'
        if 'site-packages' in path.parts and not library:
            inside = path.parts[path.parts.index('site-packages') + 1 :]
            library = f' ({"/".join(inside)}:{frame.f_lineno})' if inside[0] != 'torch' else ''
        frame = frame.f_back
    return f'elsewhere{library}'


def library_of(place: str) -> str:
    """The file that a place names: of the library that was called, else of the package."""
    inner = re.search(r'\((.*):\d+\)$', place)
    return inner.group(1) if inner else place.split(':')[0]


@contextmanager
def pretended_gpu() -> Iterator[Counter[tuple[str, str]]]:
    """What runs inside finds a GPU; gives the synchronisations by line and kind."""
    OnGpu.waits = Counter()
    with patch('torch.cuda._lazy_init', lambda: None), _Making(), _Pretending():
        yield OnGpu.waits


def to_pretended_gpu(model: Any) -> Any:
    """As ``model.to('cuda')``; what is shared stays shared."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                if id(value) not in moved:
                    moved[id(value)] = nn.Parameter(OnGpu(value.detach()), requires_grad=value.requires_grad)
                module._parameters[name] = moved[id(value)]
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = OnGpu(value)
    model._set_device(CUDA)
    return model
