"""Torch's fake tensors on 'cuda': shapes, types and devices without values, so that whoever asks for a value is found.

A library may ask where it is listed to (``tests/models/waits.py``): it gets what it read when the same ran on the CPU.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from lisa_mm.structures import SegDataSample

from .pretended import CUDA, library_of, place

Read = tuple[str, str]  # place and operation
Tape = defaultdict[Read, deque[Any]]
ASKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class _Shape(tuple[int, ...]):
    """The size of a tensor that was not known before."""


class _Recording(TorchDispatchMode):
    def __init__(self, tape: Tape):
        super().__init__()
        self.tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if ASKING & set(func.tags):
            said = tree_map(lambda value: (_Shape(value.shape), value.dtype) if isinstance(value, Tensor) else value, out)
            self.tape[place(), str(func)].append(said)
        return out


class _Lists(TorchFunctionMode):
    """Lists are read and made without passing through what torch dispatches: here they are, number after number."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist:
            return _listed(args[0])
        if func is torch.tensor:
            args = tree_map(lambda value: value.item() if isinstance(value, Tensor) else value, args)
        return func(*args, **(kwargs or {}))


def _listed(tensor: Tensor) -> Any:
    return [_listed(item) for item in tensor] if tensor.dim() else tensor.item()


@contextmanager
def recorded() -> Iterator[Tape]:
    """What the host reads while real tensors run inside, by place and operation."""
    tape: Tape = defaultdict(deque)
    with _Lists(), _Recording(tape):
        yield tape


class _Replaying(TorchDispatchMode):
    def __init__(self, tape: Tape, allowed: Callable[[str], bool]):
        super().__init__()
        self.tape, self.allowed, self.asked = tape, allowed, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            here = place()
            if not self.allowed(library_of(here)):
                raise AssertionError(f'the host waits at {here}: {func}') from error
            self.asked.add(library_of(here))
            said = self.tape[here, str(func)].popleft()
            device = next(value.device for value in args if isinstance(value, Tensor))
            return tree_map(
                lambda value: torch.empty(value[0], dtype=value[1], device=device) if _is_tensor(value) else value,
                said,
                is_leaf=_is_tensor,
            )


@torch.no_grad()
def backward(total: Tensor) -> None:
    """As ``total.backward()``, node by node: torch's engine asks for the streams of a GPU, which may not be there."""
    assert total.grad_fn is not None
    gradients: dict[Any, list[Tensor | None]] = {total.grad_fn: [torch.ones_like(total)]}
    for node in _from_the_end(total.grad_fn):
        given = gradients.pop(node, [])
        if hasattr(node, 'variable'):  # a leaf
            leaf, (gradient,) = node.variable, given
            assert gradient is not None and (gradient.shape, gradient.device) == (leaf.shape, leaf.device)
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
            continue
        if all(value is None for value in given):
            continue
        # a function in Python is not called as torch's own are, and gives None for arguments that are no tensors
        function: Any = node
        out = function(*given) if callable(function) else function.apply(*given)[: len(node.next_functions)]
        for (after, slot), value in zip(node.next_functions, out if isinstance(out, tuple) else (out,), strict=True):
            if after is not None and value is not None:
                slots = gradients.setdefault(after, [None] * len(after._input_metadata))
                before, wanted = slots[slot], after._input_metadata[slot]
                value = value.sum_to_size(wanted.shape).to(wanted.dtype)
                slots[slot] = value if before is None else before + value


def _from_the_end(root: Any) -> list[Any]:
    """The nodes of a graph, each before all that it leads to."""
    order, seen, stack = [], {root}, [(root, iter(root.next_functions))]
    while stack:
        further = stack[-1][1]
        after = next((item for item, _ in further if item is not None and item not in seen), None)
        if after is None:
            order.append(stack.pop()[0])
        else:
            seen.add(after)
            stack.append((after, iter(after.next_functions)))
    return order[::-1]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], _Shape)


class FakeCuda:
    """Runs things without values.

    Args:
        allowed: Whether a file may ask for values.
    """

    def __init__(self, allowed: Callable[[str], bool]):
        self.mode = FakeTensorMode(allow_non_fake_inputs=False)
        self.allowed = allowed
        self.asked: set[str] = set()

    def fake(self, value: Any, device: str | torch.device = 'cpu') -> Any:
        """The same without values."""
        if isinstance(value, Tensor):
            with self.mode:
                return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
        if isinstance(value, dict):
            return {key: self.fake(item, device) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.fake(item, device) for item in value)
        if isinstance(value, SegDataSample):
            made = value.new()
            made.set_data({name: self.fake(item, device) for name, item in value.items()})
            return made
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: self.fake(getattr(value, field.name), device) for field in fields(value)})
        return value

    def move(self, model: Any) -> None:
        """As ``model.to('cuda')``; what is shared stays shared."""
        moved: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    if id(value) not in moved:
                        moved[id(value)] = nn.Parameter(self.fake(value, CUDA), requires_grad=value.requires_grad)
                    module._parameters[name] = moved[id(value)]
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = self.fake(value, CUDA)
        model._set_device(CUDA)

    @contextmanager
    def running(self, tape: Tape) -> Iterator[None]:
        """What runs inside has no values but those on the tape."""
        replaying = _Replaying(tape, self.allowed)
        # transformers takes another way with fake tensors; theirs must be that of a GPU
        as_on_a_gpu = patch('transformers.utils.import_utils.is_fake_tensor', lambda tensor: False)
        with as_on_a_gpu, _Lists(), self.mode, replaying:
            yield
        self.asked |= replaying.asked
