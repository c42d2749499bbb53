"""Run a model on shapes to count allocations of forward and backward, without weights, values or a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

aten = torch.ops.aten
_META = torch.device('meta')
# Constant fills of integers get values, whatever tensor gives their shape
_FILLS: dict[Any, Callable[..., Any]] = {
    aten.zeros_like.default: lambda args: 0,
    aten.new_zeros.default: lambda args: 0,
    aten.ones_like.default: lambda args: 1,
    aten.new_ones.default: lambda args: 1,
    aten.full_like.default: lambda args: args[1],
    aten.new_full.default: lambda args: args[2],
    aten.empty_like.default: lambda args: 0,
    aten.new_empty.default: lambda args: 0,
}
# torch takes them apart into dozens of steps on the meta device: two thirds of a report's time
_BILINEAR = (aten.upsample_bilinear2d.default, aten.upsample_bilinear2d.vec)


class LiveStorages:
    """The bytes of all live storages, and their maximum since the last :meth:`take_peak`."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._known: dict[int, tuple[weakref.ref, int]] = {}
        self._watched: list[list[int]] = []

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = (weakref.ref(storage, lambda _: self._drop(key)), size)
        self.live += size
        self._note(self.live)

    def overlook(self, tensor: Tensor) -> None:
        """Never count this tensor's storage."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._known[key] = (weakref.ref(storage, lambda _: self._drop(key)), 0)

    @contextmanager
    def watch(self) -> Iterator[list[int]]:
        """A list of one number: the maximum of live bytes within, beyond those at the start."""
        begin, top = self.live, [0]
        entry = [begin, 0]
        self._watched.append(entry)
        try:
            yield top
        finally:
            self._watched.remove(entry)
            top[0] = entry[1]

    def take_peak(self) -> int:
        """The peak since the last call; the next one starts at the live bytes."""
        peak, self.peak = self.peak, self.live
        return peak

    def _note(self, live: int) -> None:
        self.peak = max(self.peak, live)
        for entry in self._watched:
            entry[1] = max(entry[1], live - entry[0])

    def _drop(self, key: int) -> None:
        self.live -= self._known.pop(key)[1]


class ShapeMode(TorchDispatchMode):
    """Floating-point tensors are shapes on the meta device; integers and booleans are real, so that a program may read them.

    Args:
        storages: Receives every new tensor.
    """

    def __init__(self, storages: LiveStorages):
        super().__init__()
        self.storages = storages

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        flat = list(_tensors((args, kwargs)))
        if any(tensor.is_meta for tensor in flat):
            out = self._on_shapes(func, args, kwargs)
        elif flat:
            out = self._on_values(func, args, kwargs)
        else:
            out = self._create(func, args, kwargs)
        for tensor in _tensors(out):
            self.storages.add(tensor)
        return out

    def _on_shapes(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if 'device' in kwargs:
            kwargs['device'] = _META
        if func is aten.index.Tensor:
            args = (args[0], [one for index in args[1] for one in self._indices(index)])
        if func in _BILINEAR and args[1] is not None:
            return args[0].new_empty((*args[0].shape[:-2], *args[1]))
        out = func(*_as_shapes(args), **_as_shapes(kwargs))
        if func in _FILLS and not out.is_floating_point():
            return torch.full(out.shape, _FILLS[func](args), dtype=out.dtype)
        return out

    @staticmethod
    def _indices(index: Tensor | None) -> list[Tensor | None]:
        """Convert a real mask to the positions it selects, because the result's shape depends on their number."""
        if index is None or index.dtype != torch.bool or index.is_meta:
            return [index]
        return list(index.nonzero(as_tuple=True))

    def _on_values(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        device = kwargs.get('device')
        if device is None or torch.device(device) != _META:
            return func(*args, **kwargs)
        out = func(*args, **{**kwargs, 'device': torch.device('cpu')})
        return _as_shape(out) if out.is_floating_point() else out

    def _create(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if 'device' not in kwargs and func is not aten.scalar_tensor.default:
            return func(*args, **kwargs)
        wanted = kwargs.get('device')
        shape = func(*args, **{**kwargs, 'device': _META})
        if isinstance(shape, Tensor) and (not shape.is_floating_point() or wanted is None or torch.device(wanted) != _META):
            return func(*args, **{**kwargs, 'device': torch.device('cpu')})
        return shape


def _tensors(node: object) -> Iterator[Tensor]:
    """All tensors in arguments or results; torch's own tree functions would take half the time."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _tensors(child)
    elif isinstance(node, dict):
        for child in node.values():
            yield from _tensors(child)


def _as_shapes(node: object) -> Any:
    if isinstance(node, Tensor):
        return _as_shape(node)
    if isinstance(node, (list, tuple)):
        return [_as_shapes(child) for child in node]
    if isinstance(node, dict):
        return {key: _as_shapes(child) for key, child in node.items()}
    return node


def _as_shape(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


class DeviceChoices(TorchFunctionMode):
    """Uses the attention kernel that the device would choose: on the meta device torch takes the one that keeps all products.

    Tensors made from lists, which no dispatch sees, also keep their values.

    Args:
        device: 'cpu' asks torch for its choice; 'cuda' means the memory-efficient kernel, with or without a mask.
    """

    def __init__(self, device: str):
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.attend(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor):
            made = func(*args, **{**kwargs, 'device': 'cpu'})
            return made.to(kwargs['device']) if made.is_floating_point() and kwargs.get('device') is not None else made
        return func(*args, **kwargs)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Replaces ``F.scaled_dot_product_attention``."""
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = query.new_zeros(attn_mask.shape)  # torch makes an additive mask
        if self.device == 'cuda':
            if enable_gqa:
                groups = query.shape[-3] // key.shape[-3]
                key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
            bias = None if attn_mask is None else attn_mask.expand(*query.shape[:-1], key.shape[-2])
            return aten._scaled_dot_product_efficient_attention(
                query, key, value, bias, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale
            )[0]
        if self._cpu_is_fused(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
            return aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
            )[0]
        return aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
        )[0]

    @staticmethod
    def _cpu_is_fused(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        dropout_p: float,
        is_causal: bool,
        scale: float | None,
        enable_gqa: bool,
    ) -> bool:
        def stand_in(tensor: Tensor) -> Tensor:
            # a tensor of the same layout whose memory is never used
            made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device='cpu')
            return made.requires_grad_(tensor.requires_grad)

        with _disable_current_modes():
            mask = None
            if attn_mask is not None:
                mask = torch.empty(1, dtype=attn_mask.dtype).expand(attn_mask.shape)
                if attn_mask.requires_grad:
                    mask = mask.detach().requires_grad_()
            chosen = torch._fused_sdp_choice(
                stand_in(query), stand_in(key), stand_in(value), mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        return chosen == 1  # SDPBackend::flash_attention


@contextmanager
def on_shapes(storages: LiveStorages, device: str) -> Iterator[None]:
    """Count a program's allocations as on this kind of device ('cpu', 'cuda')."""
    with ShapeMode(storages), DeviceChoices(device):
        yield


def run_backward(loss: Tensor) -> None:
    """``loss.backward()`` that keeps function modes, which torch leaves meanwhile: checkpointed layers run again in it."""
    torch.autograd.graph._engine_run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )
